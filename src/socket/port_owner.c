#include "socket/port_owner.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TCP_LISTEN_STATE 0x0A

/* Call `match` for each line of a table until it gives an inode, which is returned; 0: none. */
static unsigned long table_find(const char *path, const struct address *addr,
                                unsigned long (*match)(const char *line,
                                                       const struct address *addr))
{
    char line[512];
    unsigned long inode = 0;
    FILE *table = fopen(path, "re");
    if (!table)
        return 0;
    while (inode == 0 && fgets(line, sizeof(line), table))
        inode = match(line, addr);
    fclose(table);
    return inode;
}

/* "sl local_address rem_address st queues tr retrnsmt uid timeout inode" */
static unsigned long match_tcp(const char *line, const struct address *addr)
{
    unsigned port, state;
    unsigned long inode;
    if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &port,
               &state, &inode) != 3)
        return 0;
    return state == TCP_LISTEN_STATE && port == address_port(addr) ? inode : 0;
}

/* "Num RefCount Protocol Flags Type St Inode Path" */
static unsigned long match_unix(const char *line, const struct address *addr)
{
    char wanted[ADDRESS_TEXT_SIZE];
    unsigned long inode;
    int path = 0;
    address_print(addr, wanted);
    if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu %n", &inode, &path) != 1 || path == 0)
        return 0;
    size_t len = strcspn(line + path, "\n");
    const char *name = wanted + strlen("unix:");
    return strlen(name) == len && memcmp(line + path, name, len) == 0 ? inode : 0;
}

static unsigned long address_inode(const struct address *addr)
{
    if (address_is_unix(addr))
        return table_find("/proc/net/unix", addr, match_unix);
    unsigned long inode = table_find("/proc/net/tcp", addr, match_tcp);
    return inode ? inode : table_find("/proc/net/tcp6", addr, match_tcp);
}

/* Does the process hold the socket `name` ("socket:[123]")? */
static bool process_holds(const char *pid, const char *name)
{
    char path[64], target[64];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *folder = opendir(path);
    if (!folder)
        return false;
    const struct dirent *entry;
    while (!found && (entry = readdir(folder))) {
        ssize_t len = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);
        target[len > 0 ? len : 0] = '\0';
        found = strcmp(target, name) == 0;
    }
    closedir(folder);
    return found;
}

/* The process's name, without the line end; "?" when it is gone. */
static void process_name(const char *pid, char name[32])
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(name, 32, file))
        strcpy(name, "?");
    if (file)
        fclose(file);
    name[strcspn(name, "\n")] = '\0';
}

bool port_owner_find(const struct address *addr, char text[PORT_OWNER_TEXT_SIZE])
{
    char wanted[48], name[32];
    unsigned long inode = address_inode(addr);
    DIR *folder = inode ? opendir("/proc") : NULL;
    bool found = false;
    const struct dirent *entry;
    snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    while (folder && !found && (entry = readdir(folder))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        found = process_holds(entry->d_name, wanted);
        if (!found)
            continue;
        process_name(entry->d_name, name);
        snprintf(text, PORT_OWNER_TEXT_SIZE, "process %.20s (%s)", entry->d_name, name);
    }
    if (folder)
        closedir(folder);
    return found;
}
