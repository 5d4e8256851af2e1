"""What run_socket.py does not count of CPython's test_socket and test_timeout, and why.

A key is a class, or "Class.test". Names that an interpreter's suite does not have are ignored.
"""

FAMILY = "zolal has AF_INET, AF_INET6 and AF_UNIX: a server's families; this is "
ELSEWHERE = "is for another system than Linux: "

# Not run.
NOT_APPLICABLE = {
    "BasicCANTest": FAMILY + "AF_CAN",
    "CANTest": FAMILY + "AF_CAN",
    "ISOTPTest": FAMILY + "AF_CAN",
    "J1939Test": FAMILY + "AF_CAN",
    "BasicRDSTest": FAMILY + "AF_RDS",
    "RDSTest": FAMILY + "AF_RDS",
    "BasicQIPCRTRTest": FAMILY + "AF_QIPCRTR",
    "BasicVSOCKTest": FAMILY + "AF_VSOCK",
    "ThreadedVSOCKSocketStreamTest": FAMILY + "AF_VSOCK",
    "BasicBluetoothTest": FAMILY + "AF_BLUETOOTH",
    "BluetoothTest": FAMILY + "AF_BLUETOOTH",
    "LinuxKernelCryptoAPI": FAMILY + "AF_ALG",
    "TIPCTest": FAMILY + "AF_TIPC",
    "TIPCThreadableTest": FAMILY + "AF_TIPC",
    "BasicHyperVTest": ELSEWHERE + "AF_HYPERV",
    "TestSocketSharing": ELSEWHERE + "socket.share() of Windows",
    "TestMSWindowsTCPFlags": ELSEWHERE + "constants of Windows",
    "TestMacOSTCPFlags": ELSEWHERE + "constants of macOS",
    "PurePythonSocketPairTest": ELSEWHERE + "a socketpair() for systems without socketpair(2)",
}

INTERNET = "needs a host in the internet: "
NOT_APPLICABLE |= {
    "TCPTimeoutTestCase.testConnectTimeout": INTERNET
    + "one that drops what comes; tests/socket/test_socket_waiting.py has a full queue for that",
    "GeneralModuleTests.test_idna": INTERNET + "looks up a name with an umlaut",
}

REEXPORT = "asks for a function or a constant that is the standard library's own, no socket"
REFUSED = "the arguments are refused before the kernel is asked"

# Run, and they must pass; but they leave nothing in the recording, so they do not count.
WITHOUT_A_CALL = {
    **{
        f"GeneralModuleTests.{name}": REEXPORT
        for name in (
            "testCrucialConstants",
            "testCrucialIpProtoConstants",
            "testGetServBy",
            "testGetaddrinfo",
            "test_getaddrinfo_localized_error",
            "testHostnameRes",
            "testIPv4_inet_aton_fourbytes",
            "testIPv4toString",
            "testIPv6toString",
            "testInterfaceNameIndex",
            "testInterpreterCrash",
            "testInvalidInterfaceIndexToName",
            "testInvalidInterfaceNameToIndex",
            "testNtoH",
            "testNtoHErrors",
            "testRefCountGetNameInfo",
            "testSocketError",
            "testStringToIPv4",
            "testStringToIPv6",
            "testWindowsSpecificConstants",
            "test3542SocketOptions",
            "test_addressfamily_enum",
            "test_addressinfo_enum",
            "test_getaddrinfo_int_port_overflow",
            "test_getaddrinfo_ipv6_basic",
            "test_getaddrinfo_ipv6_scopeid_symbolic",
            "test_getaddrinfo_ipv6_scopeid_numeric",
            "test_getfqdn_filter_localhost",
            "test_getnameinfo",
            "test_getnameinfo_ipv6_scopeid_symbolic",
            "test_getnameinfo_ipv6_scopeid_numeric",
            "test_host_resolution",
            "test_host_resolution_bad_address",
            "test_if_indextoname_overflow",
            "test_msgflag_enum",
            "test_sethostname",
            "test_socketkind_enum",
        )
    },
    "GeneralModuleTests.test_socket_methods": "looks whether methods are there",
    "GeneralModuleTests.test_socket_type": "looks at the type",
    "GeneralModuleTests.test_socket_fileno_rejects_float": REFUSED,
    "GeneralModuleTests.test_socket_fileno_rejects_invalid_socket": REFUSED,
    "GeneralModuleTests.test_socket_fileno_rejects_negative": REFUSED,
    "GeneralModuleTests.test_socket_fileno_rejects_other_types": REFUSED,
    "CmsgMacroTests": REEXPORT,
    "TestLazyImport": "asks what the standard library's socket imports",
    "TestExceptions.testExceptionTree": REEXPORT,
}

# Run, and they fail.
EXPECTED_FAILURES: dict[str, str] = {}
