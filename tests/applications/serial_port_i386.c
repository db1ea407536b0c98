/* Opens a serial port from a 32-bit program, in each way once, all at the same time.
 *
 *   serial_port_i386 PATH */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __i386__
#error "this is the test of a program for i386"
#endif

#define SERIAL (O_RDWR | O_NOCTTY | O_NONBLOCK)

/* The numbers of the i386 table (kernel, arch/x86/entry/syscalls/syscall_32.tbl). */
static long interrupt(long number, long a, long b, long c)
{
	long result;
	asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

static int by_open(const char *path)
{
	return interrupt(5, (long)path, SERIAL, 0);
}

static int by_openat(const char *path)
{
	return interrupt(295, AT_FDCWD, (long)path, SERIAL);
}

/* libc does not use int $0x80, but what the kernel's own library (vdso(7)) has for it. */
static int by_libc(const char *path)
{
	return open(path, SERIAL);
}

static const struct {
	const char *name;
	int (*open)(const char *path);
} ways[] = { { "open", by_open }, { "openat", by_openat }, { "libc", by_libc } };

/* The kernel has one writer of a terminal at a time, and one that may not wait for the other gets
 * EAGAIN (kernel, drivers/tty/tty_io.c, tty_write_lock): so this one may. */
static ssize_t write_byte(int port)
{
	return fcntl(port, F_SETFL, O_RDWR) ? -1 : write(port, "", 1);
}

static int child(int way, const char *path)
{
	char line[200];
	int port = ways[way].open(path), length;
	if (port < 0)
		length = sprintf(line, "%s failed %s\n", ways[way].name, strerror(errno));
	else
		length = sprintf(line, "%s ok %zd\n", ways[way].name, write_byte(port));
	/* One write, so that the lines do not mix. */
	return write(1, line, length) != length;
}

int main(int count, char **argument)
{
	const char *path = count > 1 ? argument[1] : "";
	for (int way = 0; way < 3; way++)
		if (fork() == 0)
			_exit(child(way, path));
	while (wait(NULL) > 0)
		;
	return 0;
}
