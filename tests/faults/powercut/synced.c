/* Notes how much of a file is on the disk.
 *
 * kill -9 loses nothing that was written, for the page cache outlives the process; only a power cut tells the fsync
 * modes apart. Preloaded into the server, this writes the size that a file had when fsync or fdatasync began to
 * <file>.synced once the call has succeeded. After kill -9 the test cuts the file to that size: what remains is what a
 * power cut at the worst moment would have left.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes written while the call runs may or may not be included, so the size from before it is the one that counts. */
static int sync_and_note(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
    int result = real(fd);
    if (result != 0 || !known)
        return result;

    char link[64], path[4096], size[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 8);
    if (length <= 0)
        return result;
    snprintf(path + length, 8, ".synced");
    int note = open(path, O_WRONLY | O_CREAT, 0600);
    if (note < 0)
        return result;
    /* Fixed width and one pwrite: a kill in between leaves the old number or the new one. */
    int digits = snprintf(size, sizeof size, "%020lld\n", (long long)before.st_size);
    if (pwrite(note, size, digits, 0) != digits)
        unlink(path);
    close(note);
    return result;
}

int fsync(int fd) { return sync_and_note("fsync", fd); }
int fdatasync(int fd) { return sync_and_note("fdatasync", fd); }
