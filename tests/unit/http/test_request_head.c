/* The head of a request: verdicts, what is kept, and that neither depends on how the bytes arrive.
 */
#include "feed.h"

#include "http/field_memo.h"
#include "http/request_head.h"

/* --------------------------------------------------------------------------------- verdicts */

/* A request, and how it is refused; HTTP_ACCEPTED when it is not. */
struct verdict {
    enum http_refusal refusal;
    struct slice text;
};

#define V(refusal, text)  {refusal, {text, sizeof(text) - 1}}
#define GET(target)       "GET " target " HTTP/1.1\r\n" HOST "\r\n"
#define LINE(line)        line "\r\n" HOST "\r\n"
#define HOST_VALUE(value) "GET /echo HTTP/1.1\r\nHost:" value "\r\n\r\n"

static const struct verdict verdicts[] = {
    /* request line */
    V(HTTP_ACCEPTED, LINE("GET / HTTP/1.1")),
    V(HTTP_ACCEPTED, "G / HTTP/1.0\r\n\r\n"),
    V(HTTP_ACCEPTED, "G / HTTP/1.0\r\nA:\r\n\r\n"),
    V(HTTP_ACCEPTED, "\r\n" LINE("GET / HTTP/1.1")),
    V(HTTP_ACCEPTED, "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" LINE("GET / HTTP/1.1")),
    V(HTTP_BAD_REQUEST_LINE, "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" LINE("GET / HTTP/1.1")),
    V(HTTP_BARE_LF, "\n" LINE("GET / HTTP/1.1")),
    V(HTTP_BARE_LF, "\r\n\n" LINE("GET / HTTP/1.1")),
    V(HTTP_BARE_CR, "\r" LINE("GET / HTTP/1.1")),
    V(HTTP_BARE_CR, "\r\r\n" LINE("GET / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE(" GET / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("\tGET / HTTP/1.1")),
    V(HTTP_BAD_METHOD, "\r\n " LINE("GET / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("GET\t/\tHTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("GET /\tHTTP/1.1")),
    V(HTTP_BAD_REQUEST_LINE, LINE("GET  / HTTP/1.1")),
    V(HTTP_BAD_VERSION, LINE("GET /  HTTP/1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1.1 ")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1.1\t")),
    V(HTTP_BAD_VERSION, LINE("GET /a b HTTP/1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1.1 HTTP/1.1")),
    V(HTTP_BARE_LF, "GET / HTTP/1.1\nHost: a\n\n"),
    V(HTTP_BARE_LF, "GET / HTTP/1.1\n" HOST "\r\n"),
    V(HTTP_BARE_CR, "GET / HTTP/1.1\r" HOST "\r\n"),
    V(HTTP_BARE_CR, "GET / HTTP/1.1\r\r\n" HOST "\r\n"),
    V(HTTP_BAD_REQUEST_LINE, LINE("GET /")),
    V(HTTP_BAD_REQUEST_LINE, "GET /\n"),
    V(HTTP_BAD_REQUEST_LINE, LINE("GET /?a")),
    V(HTTP_BAD_REQUEST_LINE, LINE("GET")),
    V(HTTP_BAD_REQUEST_LINE, LINE("GET ")),
    V(HTTP_BAD_VERSION, LINE("GET / ")),
    V(HTTP_BAD_VERSION, LINE("GET / H")),
    V(HTTP_BAD_VERSION, LINE("GET / http/1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / Http/1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / RTSP/1.0")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1.")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/11")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1,1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/ 1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1.10")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1.1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/01.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/+1.1")),
    V(HTTP_BAD_VERSION, LINE("GET / HTTP/1.x")),
    V(HTTP_ACCEPTED, "GET / HTTP/1.0\r\n\r\n"),
    V(HTTP_ACCEPTED, LINE("GET / HTTP/1.2")),
    V(HTTP_ACCEPTED, LINE("GET / HTTP/1.9")),
    V(HTTP_VERSION_NOT_SUPPORTED, LINE("GET / HTTP/0.9")),
    V(HTTP_VERSION_NOT_SUPPORTED, LINE("GET / HTTP/2.0")),
    V(HTTP_VERSION_NOT_SUPPORTED, LINE("GET / HTTP/3.0")),
    V(HTTP_VERSION_NOT_SUPPORTED, LINE("GET / HTTP/9.9")),
    V(HTTP_VERSION_NOT_SUPPORTED, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    V(HTTP_BAD_METHOD, LINE("G@T / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("{GET} / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("GE,T / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("GET: / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("GET\0 / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("\0GET / HTTP/1.1")),
    V(HTTP_BAD_METHOD, LINE("G\xc9T / HTTP/1.1")),
    V(HTTP_ACCEPTED, LINE("get / HTTP/1.1")),
    V(HTTP_ACCEPTED, LINE("PROPFIND / HTTP/1.1")),
    V(HTTP_ACCEPTED, LINE("!#$%&'*+-.^_`|~09Az / HTTP/1.1")),
    V(HTTP_BAD_METHOD, "\x80\x01\x02\x03garbage\xff\xfe\r\n\r\n"),
    V(HTTP_BAD_METHOD, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), /* a TLS client */
    /* target */
    V(HTTP_ACCEPTED, GET("/echo?a=1&b=%20%ff&c")),
    V(HTTP_ACCEPTED, GET("/?")),
    V(HTTP_ACCEPTED, GET("/??a?b/c")),
    V(HTTP_ACCEPTED, GET("/a%20b")),
    V(HTTP_ACCEPTED, GET("/a%00b")),
    V(HTTP_ACCEPTED, GET("/100%25")),
    V(HTTP_ACCEPTED, GET("/a%")),
    V(HTTP_ACCEPTED, GET("/a%zz?%")),
    V(HTTP_ACCEPTED, GET("/a;v=1/b")),
    V(HTTP_ACCEPTED, GET("//echo")),
    V(HTTP_ACCEPTED, GET("/../..//./a")),
    V(HTTP_ACCEPTED, GET("/http://a/b")),
    V(HTTP_ACCEPTED, GET("/a|b[c]")),
    V(HTTP_ACCEPTED, GET("/?a|b[c]{d}\\e^f`g")),
    V(HTTP_ACCEPTED, GET("/~!$&'()*+,;=:@-._")),
    V(HTTP_BAD_TARGET, GET("/a\"b")),
    V(HTTP_BAD_TARGET, GET("/a<b>")),
    V(HTTP_BAD_TARGET, GET("/a{b}")),
    V(HTTP_BAD_TARGET, GET("/a\\b")),
    V(HTTP_BAD_TARGET, GET("/a^b")),
    V(HTTP_BAD_TARGET, GET("/a`b")),
    V(HTTP_BAD_TARGET, GET("/a#b")),
    V(HTTP_BAD_TARGET, GET("#")),
    V(HTTP_BAD_TARGET, GET("/?a#b")),
    V(HTTP_BAD_TARGET, GET("/?a\"b")),
    V(HTTP_BAD_TARGET, GET("/?a<b")),
    V(HTTP_BAD_TARGET, GET("/a\0b")),
    V(HTTP_BAD_TARGET, GET("/a\x7f")),
    V(HTTP_BAD_TARGET, GET("/caf\xc3\xa9")),
    V(HTTP_BAD_TARGET, GET("/echo?q=\xe9")),
    V(HTTP_BAD_TARGET, GET("\xef\xbc\x8f")),
    V(HTTP_BAD_TARGET, GET("a")),
    V(HTTP_BAD_TARGET, GET("?a")),
    V(HTTP_BAD_TARGET, GET("..")),
    V(HTTP_BAD_TARGET, GET("a/b")),
    V(HTTP_BAD_TARGET, GET("localhost:80")),
    V(HTTP_BAD_TARGET, GET("urn:a:b")),
    V(HTTP_BAD_TARGET, GET("gopher://localhost/echo")),
    V(HTTP_BAD_TARGET, GET("httpx://localhost/")),
    V(HTTP_BAD_TARGET, GET("http:/localhost/")),
    V(HTTP_BAD_TARGET, GET("http:localhost/")),
    V(HTTP_BAD_TARGET, GET("http://")),
    V(HTTP_BAD_TARGET, GET("http:///echo")),
    V(HTTP_BAD_TARGET, GET("http://?a")),
    V(HTTP_BAD_TARGET, GET("http://:80/")),
    V(HTTP_BAD_TARGET, GET("http://user@localhost/")),
    V(HTTP_BAD_TARGET, GET("http://user:pass@localhost/")),
    V(HTTP_BAD_TARGET, GET("http://localhost:a/")),
    V(HTTP_BAD_TARGET, GET("http://a|b/")),
    V(HTTP_BAD_TARGET, GET("http://a%/")),
    V(HTTP_BAD_TARGET, GET("http://[::1/")),
    V(HTTP_ACCEPTED, GET("http://localhost/echo")),
    V(HTTP_ACCEPTED, GET("http://localhost")),
    V(HTTP_ACCEPTED, GET("http://localhost:80?a")),
    V(HTTP_ACCEPTED, GET("HTTP://LOCALHOST/echo")),
    V(HTTP_ACCEPTED, GET("http://[::1]:80/echo")),
    V(HTTP_MISDIRECTED, GET("https://localhost/echo")),
    V(HTTP_BAD_TARGET, GET("https:///echo")),
    V(HTTP_ACCEPTED, "GET http://a.example/ HTTP/1.0\r\n\r\n"),
    V(HTTP_ACCEPTED, "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n"),
    V(HTTP_ACCEPTED, "GET http://a.example/ HTTP/1.1\r\nHost:\r\n\r\n"),
    V(HTTP_NO_HOST, "GET http://localhost/echo HTTP/1.1\r\n\r\n"),
    V(HTTP_BAD_HOST, "GET http://a.example/ HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    V(HTTP_SEVERAL_HOSTS, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nHost: b\r\n\r\n"),
    V(HTTP_ACCEPTED, LINE("OPTIONS * HTTP/1.1")),
    V(HTTP_ACCEPTED, LINE("OPTIONS /echo HTTP/1.1")),
    V(HTTP_ACCEPTED, LINE("OPTIONS http://localhost HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("OPTIONS ** HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("OPTIONS *?a HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("options * HTTP/1.1")),
    V(HTTP_BAD_TARGET, GET("*")),
    V(HTTP_METHOD_NOT_IMPLEMENTED, LINE("CONNECT localhost:443 HTTP/1.1")),
    V(HTTP_METHOD_NOT_IMPLEMENTED, LINE("CONNECT [::1]:443 HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT localhost HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT localhost: HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT 127.0.0.1 HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT [::1] HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT :443 HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT u@a:443 HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT /echo HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT * HTTP/1.1")),
    V(HTTP_BAD_TARGET, LINE("CONNECT http://a:443 HTTP/1.1")),
    V(HTTP_ACCEPTED, LINE("TRACE / HTTP/1.1")),
    /* Host */
    V(HTTP_NO_HOST, "GET /echo HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    V(HTTP_NO_HOST, "GET /echo HTTP/1.1\r\n\r\n"),
    V(HTTP_NO_HOST, "GET /echo HTTP/1.1\r\nX-Host: a\r\nHosts: a\r\nHos: a\r\nHast: a\r\n\r\n"),
    V(HTTP_NO_HOST, "GET /echo HTTP/1.2\r\n\r\n"),
    V(HTTP_ACCEPTED, "GET /echo HTTP/1.0\r\n\r\n"),
    V(HTTP_SEVERAL_HOSTS, FIELDS(HOST)),
    V(HTTP_SEVERAL_HOSTS, FIELDS("A: b\r\nhOST: other\r\n")),
    V(HTTP_SEVERAL_HOSTS, FIELDS("A: b\r\nHost: b\r\nHost: c\r\n")),
    V(HTTP_SEVERAL_HOSTS, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    V(HTTP_ACCEPTED, "GET /echo HTTP/1.1\r\nA: b\r\nHost: localhost\r\n\r\n"),
    V(HTTP_ACCEPTED, HOST_VALUE("")),
    V(HTTP_ACCEPTED, HOST_VALUE(" \t ")),
    V(HTTP_ACCEPTED, HOST_VALUE(" [::1]:8080")),
    V(HTTP_ACCEPTED, HOST_VALUE(" a!$&'()*+;=b")),
    V(HTTP_ACCEPTED, HOST_VALUE("LOCALHOST:80")),
    V(HTTP_ACCEPTED, HOST_VALUE(" localhost ")),
    V(HTTP_BAD_HOST, HOST_VALUE(" a/b")),
    V(HTTP_BAD_HOST, HOST_VALUE(" a:b")),
    V(HTTP_BAD_HOST, HOST_VALUE(" :80")),
    V(HTTP_BAD_HOST, HOST_VALUE(" a?b")),
    V(HTTP_BAD_HOST, HOST_VALUE(" <a>")),
    V(HTTP_BAD_HOST, HOST_VALUE(" a b")),
    V(HTTP_BAD_HOST, HOST_VALUE(" user@a")),
    V(HTTP_BAD_HOST, HOST_VALUE(" http://a")),
    V(HTTP_BAD_HOST, HOST_VALUE(" a%zz")),
    V(HTTP_BAD_HOST, HOST_VALUE(" caf\xc3\xa9")),
    V(HTTP_BAD_HOST, HOST_VALUE(" [::1")),
    V(HTTP_BAD_HOST, HOST_VALUE(" ::1")),
    V(HTTP_BAD_HOST, "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
    V(HTTP_BAD_FIELD_VALUE, HOST_VALUE(" a\x01"
                                       "b")),
    V(HTTP_BAD_FIELD_VALUE, HOST_VALUE(" a\0b")),
    /* field lines */
    V(HTTP_SPACE_BEFORE_COLON, FIELDS("X-A : b\r\n")),
    V(HTTP_SPACE_BEFORE_COLON, FIELDS("X-A\t: b\r\n")),
    V(HTTP_SPACE_BEFORE_COLON, FIELDS("X-A \t : b\r\n")),
    V(HTTP_SPACE_BEFORE_COLON, "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n"),
    V(HTTP_SPACE_BEFORE_COLON, POST("Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n")),
    V(HTTP_OBSOLETE_FOLD, FIELDS("X-A: one\r\n two\r\n")),
    V(HTTP_OBSOLETE_FOLD, FIELDS("X-A: one\r\n\ttwo\r\n")),
    V(HTTP_OBSOLETE_FOLD, FIELDS("X-A: one\r\n X-B: two\r\n")),
    V(HTTP_OBSOLETE_FOLD, FIELDS("X-A: one\r\n \r\n")),
    V(HTTP_OBSOLETE_FOLD, POST("Content-Length:\r\n 5\r\n")),
    V(HTTP_OBSOLETE_FOLD, POST(" Content-Length: 50\r\nContent-Length: 5\r\n")),
    V(HTTP_BAD_FIELD_NAME, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    V(HTTP_BAD_FIELD_NAME, "GET / HTTP/1.1\r\n \r\n" HOST "\r\n"),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X A: 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X[]: 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X/A: 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X,A: 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X\rA: 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X\0A: 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("\"X\": 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X-A\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("X-A \r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS(":\r\nX-A: 1\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS(": b\r\n")),
    V(HTTP_BAD_FIELD_NAME, FIELDS("\x0bX-A: b\r\n")),
    V(HTTP_BAD_FIELD_NAME, POST("Content-Length: 5\r\nTransfer\xad"
                                "Encoding: chunked\r\n")),
    V(HTTP_BARE_LF, FIELDS("X-A\n")),
    V(HTTP_BARE_LF, FIELDS("X-A: b\nX-B: c\r\n")),
    V(HTTP_BARE_LF, FIELDS("X-A:\n")),
    V(HTTP_BARE_LF, FIELDS("\n")),
    V(HTTP_BARE_LF, FIELDS("X-A: b\r\n\nX-B: c\r\n")),
    V(HTTP_BARE_LF, POST("X-A: x\nContent-Length: 0\r\n")),
    V(HTTP_BARE_CR, FIELDS("X-A: a\rX-B: b\r\n")),
    V(HTTP_BARE_CR, FIELDS("X-A: a\r\r\n")),
    V(HTTP_BARE_CR, FIELDS("X-A:\rb\r\n")),
    V(HTTP_BARE_CR, FIELDS("\rX: y\r\n")),
    V(HTTP_BARE_CR, FIELDS("\r\r\n")),
    V(HTTP_BARE_CR, POST("Content-Length: 5\r\nX-A: y\rContent-Length: 50\r\n")),
    V(HTTP_BARE_CR, FIELDS("X-A: \rxTransfer-Encoding: chunked\r\n")),
    V(HTTP_BAD_FIELD_VALUE, FIELDS("X-A: a\x01"
                                   "b\r\n")),
    V(HTTP_BAD_FIELD_VALUE, FIELDS("X-A: a\0b\r\n")),
    V(HTTP_BAD_FIELD_VALUE, FIELDS("X-A: a\x1cX-B: b\r\n")),
    V(HTTP_BAD_FIELD_VALUE, FIELDS("X-A: a\x7f\r\n")),
    V(HTTP_BAD_FIELD_VALUE, FIELDS("X-A: \x0b\r\n")),
    V(HTTP_BAD_FIELD_VALUE, FIELDS("X: \"\x10"
                                   "a\x10"
                                   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x10\r\n")),
    V(HTTP_ACCEPTED, FIELDS("X-A: caf\xc3\xa9 \x80\xff\r\n")),
    V(HTTP_ACCEPTED, FIELDS("X-A: \t a b \t \r\n")),
    V(HTTP_ACCEPTED, FIELDS("X-A:\r\nX-B: \r\nX-C:c\r\n")),
    V(HTTP_ACCEPTED, FIELDS("X-A:: b:\r\n")),
    V(HTTP_ACCEPTED, FIELDS("X!#$%&'*+-.^`|~09Az: 1\r\n")),
    V(HTTP_ACCEPTED, FIELDS("X_Forwarded_For: 6.6.6.6\r\n")),
    V(HTTP_ACCEPTED, FIELDS("X-A: 1\r\nX-A: 2\r\n")),
    V(HTTP_ACCEPTED, FIELDS("Connection: upgrade\r\nUpgrade: foo/2, bar\r\n")),
    V(HTTP_ACCEPTED, FIELDS("TE: trailers\r\nConnection: TE\r\n")),
    /* Content-Length */
    V(HTTP_ACCEPTED, POST("Content-Length: 5\r\n")),
    V(HTTP_ACCEPTED, FIELDS("Content-Length: 5\r\n")),
    V(HTTP_ACCEPTED, POST("Content-Length: 010\r\n")),
    V(HTTP_ACCEPTED, POST("content-LENGTH:\t5 \r\n")),
    V(HTTP_ACCEPTED, POST("Content-Length: 9223372036854775807\r\n")),
    V(HTTP_ACCEPTED, POST("Content_Length: x\r\nContent-Lengthy: x\r\nX-Content-Length: x\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 9223372036854775808\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 18446744073709551621\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH,
      POST("Content-Length: 10000000000000000000000000000000000000000\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: -1\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: +5\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 0x5\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: \r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length:\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 5 5\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 1_0\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 5.0\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 5;\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: \"5\"\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: \xd9\xa5\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: \xa0"
                                    "5\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 5,\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: ,5\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 5, 5\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST("Content-Length: 5, 6\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, FIELDS("Content-Length: x\r\n")),
    V(HTTP_BAD_CONTENT_LENGTH, POST_1_0("Content-Length: x\r\n")),
    V(HTTP_BAD_FIELD_VALUE, POST("Content-Length: 5\0\r\n")),
    V(HTTP_BAD_FIELD_VALUE, POST("Content-Length: 5\0, 0\r\n")),
    V(HTTP_BAD_FIELD_VALUE, POST("Content-Length: \x0b"
                                 "5\r\n")),
    V(HTTP_BARE_CR, POST("Content-Length: 5\r\r\n")),
    V(HTTP_SEVERAL_CONTENT_LENGTHS, POST("Content-Length: 6\r\nContent-Length: 5\r\n")),
    V(HTTP_SEVERAL_CONTENT_LENGTHS, POST("Content-Length: 5\r\nContent-Length: 5\r\n")),
    V(HTTP_SEVERAL_CONTENT_LENGTHS, POST("Content-Length: 5\r\nA: b\r\ncontent-length: 05\r\n")),
    V(HTTP_SEVERAL_CONTENT_LENGTHS, POST("Content-Length: 5\r\nContent-Length:\r\n")),
    V(HTTP_SPACE_BEFORE_COLON, POST("Content-Length : 5\r\n")),
    /* Transfer-Encoding */
    V(HTTP_ACCEPTED, POST("Transfer-Encoding: chunked\r\n")),
    V(HTTP_ACCEPTED, POST("Transfer-Encoding:\tchunked\t\r\n")),
    V(HTTP_ACCEPTED, POST("transfer-encoding: CHUNKED\r\n")),
    V(HTTP_ACCEPTED, FIELDS("Transfer-Encoding: chunked\r\n")),
    V(HTTP_ACCEPTED, POST("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n")),
    V(HTTP_ACCEPTED, POST("Content-Length: 5\r\nX-Transfer-Encoding: chunked\r\n")),
    V(HTTP_UNKNOWN_TRANSFER_ENCODING, POST("Transfer-Encoding: gzip, chunked\r\n")),
    V(HTTP_UNKNOWN_TRANSFER_ENCODING, POST("Transfer-Encoding: identity, chunked\r\n")),
    V(HTTP_UNKNOWN_TRANSFER_ENCODING, POST("Transfer-Encoding: gzip;q=1, chunked\r\n")),
    V(HTTP_UNKNOWN_TRANSFER_ENCODING,
      POST("Transfer-Encoding: gzip\r\nA: b\r\nTransfer-Encoding: chunked\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: gzip\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: identity\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: chunked, gzip\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: chunked,identity\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: xchunked\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: chunkedx\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: 'chunked'\r\n")),
    V(HTTP_CHUNKED_NOT_FINAL, POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING,
      POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: chunked, chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: chunked, gzip, chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: chunked,\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: ,chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding:\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: ,\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: \r\nTransfer-Encoding: chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: [chunked]\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: \"chunked\"\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: chunked;\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: chunked;a=b\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: ;chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: : chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: chunked chunked\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: chunked\xff\r\n")),
    V(HTTP_BAD_TRANSFER_ENCODING, POST("Transfer-Encoding: \x85\xa0"
                                       "chunked\r\n")),
    V(HTTP_BAD_FIELD_VALUE, POST("Transfer-Encoding: \x0b"
                                 "chunked\r\n")),
    V(HTTP_BAD_FIELD_VALUE, POST("Transfer-Encoding: \0chunked\r\n")),
    V(HTTP_LENGTH_AND_CHUNKED, POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
    V(HTTP_LENGTH_AND_CHUNKED, POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
    V(HTTP_LENGTH_AND_CHUNKED, POST("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")),
    V(HTTP_LENGTH_AND_CHUNKED, POST("Transfer-Encoding: cow\r\nContent-Length: 5\r\n")),
    V(HTTP_LENGTH_AND_CHUNKED, POST("Transfer-Encoding:\r\nContent-Length: x\r\n")),
    V(HTTP_CHUNKED_IN_1_0, POST_1_0("Transfer-Encoding: chunked\r\n")),
    V(HTTP_CHUNKED_IN_1_0, POST_1_0("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n")),
    V(HTTP_CHUNKED_IN_1_0, POST_1_0("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
    /* Expect */
    V(HTTP_ACCEPTED, POST("Expect: 100-continue\r\nContent-Length: 5\r\n")),
    V(HTTP_ACCEPTED, POST("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n")),
    V(HTTP_ACCEPTED, POST("Expect: 100-continue\r\nExpect: 100-continue\r\n")),
    V(HTTP_ACCEPTED, POST("Expect:\r\n")),
    V(HTTP_ACCEPTED, FIELDS("Expect: 100-continue\r\n")),
    V(HTTP_ACCEPTED, POST_1_0("Expect: 100-continue\r\nContent-Length: 5\r\n")),
    V(HTTP_ACCEPTED, POST_1_0("Expect: cake\r\n")),
    V(HTTP_EXPECTATION_FAILED, POST("Expect: cake\r\n")),
    V(HTTP_EXPECTATION_FAILED, POST("Expect: 100-continue, cake\r\nContent-Length: 5\r\n")),
    V(HTTP_EXPECTATION_FAILED, POST("Expect: 100-continue\r\nExpect: cake\r\n")),
    V(HTTP_EXPECTATION_FAILED, POST("Expect: 100-continued\r\n")),
    V(HTTP_EXPECTATION_FAILED, POST("Expect: 200-ok=1\r\n")),
};

static void assert_verdict(const struct verdict *verdict, ssize_t result)
{
    ssize_t expected = verdict->refusal ? -(ssize_t)verdict->refusal : (ssize_t)verdict->text.len;
    if (result != expected)
        fail_msg("%s instead of %s: %.*s", feed_result_text(result), feed_result_text(expected),
                 (int)verdict->text.len, verdict->text.data);
}

static void test_verdicts(void **state)
{
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        struct feed feed;
        assert_verdict(&verdicts[i], feed_whole(&feed, verdicts[i].text));
        feed_release(&feed);
    }
}

/* ------------------------------------------------------------------------------ any segmentation
 */

static void print_slice(FILE *out, const char *title, struct slice slice, const char *base)
{
    /* Where it lies counts, not only what it holds. */
    if (slice.data && slice.len > 0)
        fprintf(out, "%s %td+%zu\n", title, slice.data - base, slice.len);
    else
        fprintf(out, "%s %zu\n", title, slice.len);
}

/* All that a head says, as text; the caller frees it. */
static char *describe(const struct feed *feed)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    const struct request_head *head = &feed->head;
    print_slice(out, "method", head->method_text, feed->bytes);
    print_slice(out, "target", head->target, feed->bytes);
    print_slice(out, "path", head->path, feed->bytes);
    print_slice(out, "query", head->query, feed->bytes);
    print_slice(out, "host", head->host, feed->bytes);
    fprintf(out, "%d %d %d %d %llu %d %d %d\n", head->method, head->form, head->minor,
            head->framing, (unsigned long long)head->content_length, head->has_content_length,
            head->keep_alive, head->expect_continue);
    for (size_t i = 0; i < head->field_count; i++) {
        print_slice(out, "name", head->fields[i].name, feed->bytes);
        print_slice(out, "value", head->fields[i].value, feed->bytes);
    }
    fclose(out);
    return text;
}

static void assert_progress_is_zero(const struct feed *feed)
{
    static const struct request_head_progress none;
    assert_memory_equal(&feed->progress, &none, sizeof(none));
}

/* Give `text` up to each of `cuts` (rising, the last one its length): the verdict must be
 * `expected` and the head as `described`; nothing but "more" or a refusal may come before its end.
 */
static void assert_same_in_pieces(struct slice text, const size_t *cuts, ssize_t expected,
                                  const char *described, const struct http_head_limits *limits,
                                  struct field_memo *memo)
{
    struct feed feed;
    ssize_t result = 0;
    feed_init(&feed);
    feed.head.memo = memo;
    for (; result == 0; cuts++) {
        result = feed_give(&feed, text, *cuts, limits);
        if (*cuts == text.len)
            break;
        if (result > 0)
            assert_true((size_t)result <= *cuts);
    }
    if (result != expected)
        fail_msg("%s instead of %s in pieces: %.*s", feed_result_text(result),
                 feed_result_text(expected), (int)text.len, text.data);
    if (result > 0) {
        char *again = describe(&feed);
        assert_string_equal(again, described);
        assert_progress_is_zero(&feed);
        free(again);
    }
    feed_release(&feed);
}

/* At once, in two pieces cut at each place, and byte by byte; parsed anew, and with what was
 * remembered of the times before. */
static void assert_same_however_cut(struct slice text, const struct http_head_limits *limits)
{
    struct feed feed;
    struct field_memo memo = {0};
    feed_init(&feed);
    ssize_t expected = feed_give(&feed, text, text.len, limits);
    char *described = expected > 0 ? describe(&feed) : NULL;
    if (expected > 0)
        assert_progress_is_zero(&feed);
    size_t *bytewise = malloc((text.len + 1) * sizeof(*bytewise));
    assert_non_null(bytewise);
    for (size_t cut = 0; cut <= text.len; cut++) {
        size_t two[] = {cut, text.len};
        assert_same_in_pieces(text, two, expected, described, limits, NULL);
        assert_same_in_pieces(text, two, expected, described, limits, &memo);
        bytewise[cut] = cut;
    }
    assert_same_in_pieces(text, bytewise, expected, described, limits, NULL);
    assert_same_in_pieces(text, bytewise, expected, described, limits, &memo);
    field_memo_release(&memo);
    free(bytewise);
    free(described);
    feed_release(&feed);
}

static void test_the_verdict_does_not_depend_on_the_cuts(void **state)
{
    static const char behind[] = "GET /smuggled HTTP/1.1\r\n\r\n";
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        char text[1024];
        struct slice request = verdicts[i].text;
        assert_same_however_cut(request, &feed_limits);
        memcpy(text, request.data, request.len);
        memcpy(text + request.len, behind, sizeof(behind) - 1);
        assert_same_however_cut(slice_of(text, request.len + sizeof(behind) - 1), &feed_limits);
    }
}

/* With limits that are reached somewhere in the middle: too long and malformed must not be told
 * apart by how the bytes came. */
static void test_limits_do_not_depend_on_the_cuts(void **state)
{
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        for (size_t size = 1; size < 70; size += 3) {
            struct http_head_limits limits = {size, 2, 1000, 8192};
            assert_same_however_cut(verdicts[i].text, &limits);
            limits = (struct http_head_limits){1000, 3, size, 8192};
            assert_same_however_cut(verdicts[i].text, &limits);
            limits = (struct http_head_limits){size, 3, size, size * 2};
            assert_same_however_cut(verdicts[i].text, &limits);
        }
    }
}

/* Every prefix of what is right so far is waited for. */
static void test_a_prefix_is_neither_an_error_nor_whole(void **state)
{
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        for (size_t len = 0; verdicts[i].refusal == HTTP_ACCEPTED && len < verdicts[i].text.len;
             len++) {
            struct feed feed;
            feed_init(&feed);
            assert_int_equal(feed_give(&feed, verdicts[i].text, len, &feed_limits), 0);
            feed_release(&feed);
        }
    }
}

/* A line that is wrong is refused when its end is there, not when the head's is. */
static void test_a_bad_line_is_refused_at_its_end(void **state)
{
    static const struct verdict early[] = {
        V(HTTP_BAD_TARGET, "GET gopher://a/ HTTP/1.1\r\n"),
        V(HTTP_BAD_VERSION, "GET / HTTP/1\r\n"),
        V(HTTP_BAD_REQUEST_LINE, "GET /\r\n"),
        V(HTTP_VERSION_NOT_SUPPORTED, "PRI * HTTP/2.0\r\n"),
        V(HTTP_METHOD_NOT_IMPLEMENTED, "CONNECT a:1 HTTP/1.1\r\n"),
        V(HTTP_BAD_FIELD_NAME, "GET / HTTP/1.1\r\nbad\r\n"),
        V(HTTP_BARE_LF, "GET / HTTP/1.1\r\nA: b\n"),
    };
    for (size_t i = 0; i < COUNT_OF(early); i++)
        assert_same_however_cut(early[i].text, &feed_limits);
    for (size_t i = 0; i < COUNT_OF(early); i++) {
        struct feed feed;
        assert_verdict(&early[i], feed_whole(&feed, early[i].text));
        feed_release(&feed);
    }
}

/* ------------------------------------------------------------------------ each byte at each place
 */

static bool in(const char *set, int byte)
{
    return byte != 0 && strchr(set, byte) != NULL;
}

#define ALPHA "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGIT "0123456789"
#define TCHAR ALPHA DIGIT "!#$%&'*+-.^_`|~"
#define PATH  ALPHA DIGIT "-._~!$&'()*+,;=:@%/|[]"
#define QUERY PATH "?{}\\^`"
#define VCHAR TCHAR "\"(),/:;<=>?@[\\]{} \t"

/* What stands before and after a byte; which bytes are right there; how the others are refused; and
 * those refused in another way: up to four sets with their refusals. `high`: also bytes above 0x7f.
 */
static const struct place {
    const char *before;
    const char *after;
    const char *right;
    bool high;
    enum http_refusal otherwise;
    struct {
        const char *bytes;
        enum http_refusal refusal;
    } also[5];
} places[] = {
    {"",
     "ET / HTTP/1.1\r\nHost: a\r\n\r\n",
     TCHAR,
     false,
     HTTP_BAD_METHOD,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}}},
    {"G",
     "T / HTTP/1.1\r\nHost: a\r\n\r\n",
     TCHAR,
     false,
     HTTP_BAD_METHOD,
     {{"\r\n", HTTP_BAD_REQUEST_LINE}, {" ", HTTP_BAD_VERSION}}},
    {"GET",
     "/ HTTP/1.1\r\nHost: a\r\n\r\n",
     " ",
     false,
     HTTP_BAD_METHOD,
     {{"\r\n", HTTP_BAD_REQUEST_LINE}, {TCHAR, HTTP_BAD_METHOD}}},
    {"GET ",
     "x HTTP/1.1\r\nHost: a\r\n\r\n",
     "/",
     false,
     HTTP_BAD_TARGET,
     {{"\r\n ", HTTP_BAD_REQUEST_LINE}}},
    {"GET /a",
     "b HTTP/1.1\r\nHost: a\r\n\r\n",
     PATH "?",
     false,
     HTTP_BAD_TARGET,
     {{"\r\n", HTTP_BAD_REQUEST_LINE}, {" ", HTTP_BAD_VERSION}}},
    {"GET /?a",
     "b HTTP/1.1\r\nHost: a\r\n\r\n",
     QUERY,
     false,
     HTTP_BAD_TARGET,
     {{"\r\n", HTTP_BAD_REQUEST_LINE}, {" ", HTTP_BAD_VERSION}}},
    {"GET http://a",
     "b/ HTTP/1.1\r\nHost: a\r\n\r\n",
     ALPHA DIGIT "-._~!$&'()*+,;=/?",
     false,
     HTTP_BAD_TARGET,
     {{"\r\n", HTTP_BAD_REQUEST_LINE}, {" ", HTTP_BAD_VERSION}}},
    {"GET / ", "TTP/1.1\r\nHost: a\r\n\r\n", "H", false, HTTP_BAD_VERSION, {{NULL, HTTP_ACCEPTED}}},
    {"GET / HTTP", "1.1\r\nHost: a\r\n\r\n", "/", false, HTTP_BAD_VERSION, {{NULL, HTTP_ACCEPTED}}},
    {"GET / HTTP/",
     ".1\r\nHost: a\r\n\r\n",
     "1",
     false,
     HTTP_BAD_VERSION,
     {{DIGIT, HTTP_VERSION_NOT_SUPPORTED}}},
    {"GET / HTTP/1", "1\r\nHost: a\r\n\r\n", ".", false, HTTP_BAD_VERSION, {{NULL, HTTP_ACCEPTED}}},
    {"GET / HTTP/1.",
     "\r\nHost: a\r\n\r\n",
     DIGIT,
     false,
     HTTP_BAD_VERSION,
     {{NULL, HTTP_ACCEPTED}}},
    {"GET / HTTP/1.1",
     "\r\nHost: a\r\n\r\n",
     "",
     false,
     HTTP_BAD_VERSION,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}}},
    {"GET / HTTP/1.1", "\nHost: a\r\n\r\n", "\r", false, HTTP_BAD_VERSION, {{"\n", HTTP_BARE_LF}}},
    {"GET / HTTP/1.1\r", "Host: a\r\n\r\n", "\n", false, HTTP_BARE_CR, {{NULL, HTTP_ACCEPTED}}},
    {"GET / HTTP/1.1\r\n",
     "A: b\r\nHost: a\r\n\r\n",
     TCHAR,
     false,
     HTTP_BAD_FIELD_NAME,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}}},
    {"GET / HTTP/1.1\r\nHost: a\r\n",
     "A: b\r\n\r\n",
     TCHAR,
     false,
     HTTP_BAD_FIELD_NAME,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}, {" \t", HTTP_OBSOLETE_FOLD}}},
    {"GET / HTTP/1.1\r\nHost: a\r\nA",
     "B: c\r\n\r\n",
     TCHAR ":",
     false,
     HTTP_BAD_FIELD_NAME,
     {{"\n", HTTP_BARE_LF}}},
    {"GET / HTTP/1.1\r\nHost: a\r\nA",
     ": c\r\n\r\n",
     TCHAR ":",
     false,
     HTTP_BAD_FIELD_NAME,
     {{"\n", HTTP_BARE_LF}, {" \t", HTTP_SPACE_BEFORE_COLON}}},
    {"GET / HTTP/1.1\r\nHost: a\r\nA:",
     "b\r\n\r\n",
     VCHAR,
     true,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}}},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b",
     "c\r\n\r\n",
     VCHAR,
     true,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}}},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b",
     "\r\n\r\n",
     VCHAR,
     true,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}}},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b",
     "\n\r\n",
     "\r",
     false,
     HTTP_BAD_FIELD_VALUE,
     {{"\n" VCHAR, HTTP_BARE_LF}}},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\r",
     "\r\n",
     "\n",
     false,
     HTTP_BARE_CR,
     {{NULL, HTTP_ACCEPTED}}},
    {"GET / HTTP/1.1\r\nHost: a\r\n\r", "", "\n", false, HTTP_BARE_CR, {{NULL, HTTP_ACCEPTED}}},
    {"GET / HTTP/1.1\r\nHost: a",
     "b\r\n\r\n",
     ALPHA DIGIT "-._~!$&'()*+,;=",
     false,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}, {VCHAR, HTTP_BAD_HOST}}},
    {"GET / HTTP/1.1\r\nHost: a:",
     "\r\n\r\n",
     DIGIT " \t",
     false,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}, {VCHAR, HTTP_BAD_HOST}}},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1",
     "\r\n\r\n",
     DIGIT " \t",
     false,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}, {VCHAR, HTTP_BAD_CONTENT_LENGTH}}},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:",
     "1\r\n\r\n",
     DIGIT " \t",
     false,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR}, {"\n", HTTP_BARE_LF}, {VCHAR, HTTP_BAD_CONTENT_LENGTH}}},
    {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
     "\r\n\r\n",
     " \t",
     false,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR},
      {"\n", HTTP_BARE_LF},
      {TCHAR, HTTP_CHUNKED_NOT_FINAL},
      {VCHAR, HTTP_BAD_TRANSFER_ENCODING}}},
    {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:",
     "chunked\r\n\r\n",
     " \t",
     false,
     HTTP_BAD_FIELD_VALUE,
     {{"\r", HTTP_BARE_CR},
      {"\n", HTTP_BARE_LF},
      {TCHAR, HTTP_CHUNKED_NOT_FINAL},
      {VCHAR, HTTP_BAD_TRANSFER_ENCODING}}},
};

/* Bytes above 0x7f in a value that has a grammar of its own are refused by that grammar. */
static enum http_refusal refusal_at(const struct place *place, int byte)
{
    if (in(place->right, byte) || (place->high && byte >= 0x80))
        return HTTP_ACCEPTED;
    for (size_t i = 0; i < COUNT_OF(place->also) && place->also[i].bytes; i++) {
        bool last = i + 1 == COUNT_OF(place->also) || !place->also[i + 1].bytes;
        bool value =
            place->otherwise == HTTP_BAD_FIELD_VALUE && last && strlen(place->also[i].bytes) > 2;
        if (in(place->also[i].bytes, byte) || (value && byte >= 0x80))
            return place->also[i].refusal;
    }
    return place->otherwise;
}

static void test_each_byte_at_each_place(void **state)
{
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[256];
            size_t before = strlen(places[i].before);
            size_t after = strlen(places[i].after);
            memcpy(text, places[i].before, before);
            text[before] = (char)byte;
            memcpy(text + before + 1, places[i].after, after);
            struct verdict verdict = {refusal_at(&places[i], byte),
                                      slice_of(text, before + 1 + after)};
            struct feed feed;
            assert_verdict(&verdict, feed_whole(&feed, verdict.text));
            feed_release(&feed);
            if (after > 0) /* else the line has no end yet, and a later piece may be waited with */
                assert_same_however_cut(verdict.text, &feed_limits);
        }
    }
}

/* Values are read in blocks: each byte at each place of values of each length around one. */
static void test_each_byte_of_a_long_value(void **state)
{
    for (size_t len = 1; len <= 40; len++) {
        for (size_t place = 0; place < len; place++) {
            for (int byte = 0; byte < 256; byte++) {
                char text[128] = "GET / HTTP/1.0\r\nA:";
                size_t start = strlen(text);
                memset(text + start, 'v', len);
                text[start + place] = (char)byte;
                memcpy(text + start + len, "\r\n\r\n", 4);
                bool right = byte >= 0x80 || in(VCHAR, byte);
                struct feed feed;
                ssize_t result = feed_whole(&feed, slice_of(text, start + len + 4));
                assert_int_equal(result > 0, right);
                if (right && !in(" \t", byte))
                    assert_int_equal(feed.fields[0].value.len, len);
                feed_release(&feed);
            }
        }
    }
}

/* ---------------------------------------------------------------------------------- what is kept
 */

static void assert_slice(struct slice slice, const char *text)
{
    if (!slice_equal(slice, slice_of_text(text)))
        fail_msg("'%.*s' instead of '%s'", (int)slice.len, slice.data, text);
}

static void test_targets_are_taken_apart(void **state)
{
    static const struct {
        const char *line;
        enum http_target_form form;
        const char *target, *path, *query, *host;
    } targets[] = {
        {"GET / HTTP/1.1", HTTP_ORIGIN_FORM, "/", "/", "", "localhost"},
        {"GET /a/b?c=d?e HTTP/1.1", HTTP_ORIGIN_FORM, "/a/b?c=d?e", "/a/b", "c=d?e", "localhost"},
        {"GET /? HTTP/1.1", HTTP_ORIGIN_FORM, "/?", "/", "", "localhost"},
        {"GET //a/b HTTP/1.1", HTTP_ORIGIN_FORM, "//a/b", "//a/b", "", "localhost"},
        {"GET http://A:1/b?c HTTP/1.1", HTTP_ABSOLUTE_FORM, "http://A:1/b?c", "/b", "c", "A:1"},
        {"GET http://a?b/c HTTP/1.1", HTTP_ABSOLUTE_FORM, "http://a?b/c", "/", "b/c", "a"},
        {"OPTIONS http://a HTTP/1.1", HTTP_ABSOLUTE_FORM, "http://a", "", "", "a"},
        {"OPTIONS http://a/ HTTP/1.1", HTTP_ABSOLUTE_FORM, "http://a/", "/", "", "a"},
        {"OPTIONS http://a?b HTTP/1.1", HTTP_ABSOLUTE_FORM, "http://a?b", "/", "b", "a"},
        {"GET HTTP://a HTTP/1.1", HTTP_ABSOLUTE_FORM, "HTTP://a", "/", "", "a"},
        {"GET http://[::1]:80/ HTTP/1.1", HTTP_ABSOLUTE_FORM, "http://[::1]:80/", "/", "",
         "[::1]:80"},
        {"GET http://a//b HTTP/1.1", HTTP_ABSOLUTE_FORM, "http://a//b", "//b", "", "a"},
        {"OPTIONS * HTTP/1.1", HTTP_ASTERISK_FORM, "*", "*", "", "localhost"},
    };
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        char text[256];
        struct feed feed;
        snprintf(text, sizeof(text), "%s\r\n" HOST "\r\n", targets[i].line);
        assert_int_equal(feed_whole(&feed, slice_of_text(text)), strlen(text));
        assert_int_equal(feed.head.form, targets[i].form);
        assert_slice(feed.head.target, targets[i].target);
        assert_slice(feed.head.path, targets[i].path);
        assert_slice(feed.head.query, targets[i].query);
        assert_slice(feed.head.host, targets[i].host);
        feed_release(&feed);
    }
}

static void test_methods_are_known(void **state)
{
    static const struct {
        const char *text;
        enum http_method method;
    } methods[] = {
        {"GET", HTTP_METHOD_GET},       {"HEAD", HTTP_METHOD_HEAD},
        {"POST", HTTP_METHOD_POST},     {"PUT", HTTP_METHOD_PUT},
        {"DELETE", HTTP_METHOD_DELETE}, {"OPTIONS", HTTP_METHOD_OPTIONS},
        {"TRACE", HTTP_METHOD_TRACE},   {"PATCH", HTTP_METHOD_PATCH},
        {"get", HTTP_METHOD_OTHER},     {"connect", HTTP_METHOD_OTHER},
        {"GETS", HTTP_METHOD_OTHER},    {"G", HTTP_METHOD_OTHER},
        {"PUSH", HTTP_METHOD_OTHER},
    };
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        char text[256];
        struct feed feed;
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\n" HOST "\r\n", methods[i].text);
        assert_int_equal(feed_whole(&feed, slice_of_text(text)), strlen(text));
        assert_int_equal(feed.head.method, methods[i].method);
        assert_slice(feed.head.method_text, methods[i].text);
        feed_release(&feed);
    }
}

static void test_fields_are_kept_in_order(void **state)
{
    struct feed feed;
    struct slice text = SLICE(FIELDS("X-A: \t one, two \t\r\nempty:\r\nX-A:three\r\n"));
    assert_int_equal(feed_whole(&feed, text), text.len);
    assert_int_equal(feed.head.field_count, 4);
    assert_slice(feed.fields[0].name, "Host");
    assert_slice(feed.fields[0].value, "localhost");
    assert_slice(feed.fields[1].name, "X-A");
    assert_slice(feed.fields[1].value, "one, two");
    assert_slice(feed.fields[2].name, "empty");
    assert_slice(feed.fields[2].value, "");
    assert_slice(feed.fields[3].value, "three");
    assert_slice(request_head_field(&feed.head, SLICE("x-a")), "one, two");
    assert_slice(request_head_field(&feed.head, SLICE("EMPTY")), "");
    assert_non_null(request_head_field(&feed.head, SLICE("empty")).data);
    assert_null(request_head_field(&feed.head, SLICE("x")).data);
    feed_release(&feed);
}

static void test_only_its_own_bytes_are_the_head(void **state)
{
    struct feed feed;
    struct slice head = SLICE("\r\n" POST("Content-Length: 5\r\n"));
    struct slice text = SLICE("\r\n" POST("Content-Length: 5\r\n") "helloGET / HTTP/1.1\r\n");
    assert_int_equal(feed_whole(&feed, text), head.len);
    feed_release(&feed);
}

static void test_a_head_can_be_moved(void **state)
{
    struct feed feed;
    struct slice text = SLICE("GET http://h HTTP/1.1\r\nHost: a\r\nA:\r\n\r\n");
    assert_int_equal(feed_whole(&feed, text), text.len);
    char *before = describe(&feed);
    char *elsewhere = malloc(text.len);
    assert_non_null(elsewhere);
    memcpy(elsewhere, text.data, text.len);
    request_head_move(&feed.head, feed.bytes, elsewhere);
    free(feed.bytes);
    feed.bytes = elsewhere;
    char *after = describe(&feed);
    assert_string_equal(before, after);
    assert_slice(feed.head.path, "/");
    assert_slice(feed.head.host, "h");
    free(after);
    free(before);
    feed_release(&feed);
}

/* --------------------------------------------------------------------------------------- limits */

static ssize_t give_limited(struct slice text, struct http_head_limits limits)
{
    struct feed feed;
    feed_init(&feed);
    ssize_t result = feed_give(&feed, text, text.len, &limits);
    feed_release(&feed);
    return result;
}

static void test_a_limit_is_the_last_size_that_is_right(void **state)
{
    struct slice text = SLICE("GET /0123456789 HTTP/1.1\r\nHost: a\r\nLong: field\r\n\r\n");
    size_t line = strlen("GET /0123456789 HTTP/1.1");
    size_t field = strlen("Long: field");
    ssize_t len = (ssize_t)text.len;
    assert_int_equal(give_limited(text, (struct http_head_limits){line, 2, field, text.len}), len);
    assert_int_equal(give_limited(text, (struct http_head_limits){line - 1, 2, field, text.len}),
                     -HTTP_URI_TOO_LONG);
    assert_int_equal(give_limited(text, (struct http_head_limits){line, 1, field, text.len}),
                     -HTTP_TOO_MANY_FIELDS);
    assert_int_equal(give_limited(text, (struct http_head_limits){line, 2, field - 1, text.len}),
                     -HTTP_FIELD_TOO_LARGE);
    assert_int_equal(give_limited(text, (struct http_head_limits){line, 2, field, text.len - 1}),
                     -HTTP_HEAD_TOO_LARGE);
    struct http_head_limits none = {SIZE_MAX, 2, SIZE_MAX, SIZE_MAX};
    assert_int_equal(give_limited(text, none), len);
}

/* A body in the same bytes does not count. */
static void test_what_follows_the_head_is_not_limited(void **state)
{
    char text[600] = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n";
    size_t head = strlen(text);
    memset(text + head, 'x', 500);
    struct http_head_limits limits = {14, 2, 19, head};
    assert_int_equal(give_limited(slice_of(text, head + 500), limits), head);
}

/* No line end ever comes: the refusal does, at the limit and not a byte later or earlier. */
static void assert_refused_at(const char *start, size_t bytes, enum http_refusal refusal)
{
    struct http_head_limits limits = {100, 3, 50, 200};
    struct feed feed;
    char text[300];
    memset(text, 'a', sizeof(text));
    memcpy(text, start, strlen(start));
    feed_init(&feed);
    for (size_t len = 0; len < bytes; len++)
        assert_int_equal(feed_give(&feed, slice_of(text, sizeof(text)), len, &limits), 0);
    assert_int_equal(feed_give(&feed, slice_of(text, sizeof(text)), bytes, &limits),
                     -(ssize_t)refusal);
    feed_release(&feed);
    assert_int_equal(give_limited(slice_of(text, sizeof(text)), limits), -(ssize_t)refusal);
}

static void test_endless_lines_are_refused_at_the_limit(void **state)
{
    assert_refused_at("", 102, HTTP_METHOD_NOT_IMPLEMENTED);
    assert_refused_at("GET /", 102, HTTP_URI_TOO_LONG);
    assert_refused_at("\r\n\r\nGET /", 106, HTTP_URI_TOO_LONG);
    assert_refused_at("GET / HTTP/1.1\r\n", 68, HTTP_FIELD_TOO_LARGE);
    assert_refused_at("GET / HTTP/1.1\r\nA: ", 68, HTTP_FIELD_TOO_LARGE);
    assert_refused_at(
        "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n"
        "A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"
        "A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nA: ",
        200, HTTP_HEAD_TOO_LARGE);
}

static void test_too_many_fields_are_refused_at_the_first_byte(void **state)
{
    struct http_head_limits limits = {100, 2, 50, 200};
    struct slice text = SLICE("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC");
    assert_int_equal(give_limited(text, limits), -HTTP_TOO_MANY_FIELDS);
    assert_int_equal(give_limited(slice_of(text.data, text.len - 1), limits), 0);
    limits.fields = 0;
    assert_int_equal(give_limited(SLICE("GET / HTTP/1.0\r\n\r\n"), limits), 18);
    assert_int_equal(give_limited(SLICE("GET / HTTP/1.0\r\nA"), limits), -HTTP_TOO_MANY_FIELDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_the_verdict_does_not_depend_on_the_cuts),
        cmocka_unit_test(test_limits_do_not_depend_on_the_cuts),
        cmocka_unit_test(test_a_prefix_is_neither_an_error_nor_whole),
        cmocka_unit_test(test_a_bad_line_is_refused_at_its_end),
        cmocka_unit_test(test_each_byte_at_each_place),
        cmocka_unit_test(test_each_byte_of_a_long_value),
        cmocka_unit_test(test_targets_are_taken_apart),
        cmocka_unit_test(test_methods_are_known),
        cmocka_unit_test(test_fields_are_kept_in_order),
        cmocka_unit_test(test_only_its_own_bytes_are_the_head),
        cmocka_unit_test(test_a_head_can_be_moved),
        cmocka_unit_test(test_a_limit_is_the_last_size_that_is_right),
        cmocka_unit_test(test_what_follows_the_head_is_not_limited),
        cmocka_unit_test(test_endless_lines_are_refused_at_the_limit),
        cmocka_unit_test(test_too_many_fields_are_refused_at_the_first_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
