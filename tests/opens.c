/* Opens files in the ways in which programs open serial ports, and says what came of it.
 *
 *   opens WAY ARGUMENT...
 *
 * One line per open: its name, "ok" or the error, how many milliseconds it took, and for a device
 * its number, mode and owner as the open file has them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SERIAL (O_RDWR | O_NOCTTY)

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / 1000000;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Each line is one write, so that those of threads do not mix. */
static void say(const char *name, int fd, int error, long start)
{
	char line[200], *end = line;
	struct stat s;
	end += sprintf(end, "%s %s %ld", name, fd >= 0 ? "ok" : strerrorname_np(error), now() - start);
	if (fd >= 0 && fstat(fd, &s) == 0 && S_ISCHR(s.st_mode))
		end += sprintf(end, " %u %u %o %u %u", major(s.st_rdev), minor(s.st_rdev),
			       s.st_mode & 07777, s.st_uid, s.st_gid);
	*end++ = '\n';
	if (write(1, line, end - line) < 0)
		_exit(1);
	if (fd >= 0)
		close(fd);
}

/* The numbers of the calls themselves: a libc may use another call than the one that is meant. */
static const char *only; /* this way, where there are several */

static int is_meant(const char *name)
{
	return !only || strcmp(only, name) == 0;
}

static void try_at(const char *name, int dir, const char *path, int flags)
{
	if (!is_meant(name))
		return;
	long start = now();
	int fd = syscall(SYS_openat, dir, path, flags);
	say(name, fd, errno, start);
}

static void try(const char *name, const char *path, int flags)
{
	try_at(name, AT_FDCWD, path, flags);
}

static long processor_time(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

/* Opens a path so often each time that a line comes, and says how many microseconds of processor
 * time that has cost this program. */
static void cost(int times, const char *path)
{
	if (getchar() == EOF)
		exit(1);
	long start = processor_time();
	for (int i = 0; i < times; i++) {
		int fd = syscall(SYS_openat, AT_FDCWD, path, SERIAL);
		if (fd >= 0)
			close(fd);
	}
	printf("cost ok %ld\n", processor_time() - start);
	fflush(stdout);
}

static void *thread(void *path)
{
	try("thread", path, SERIAL);
	return NULL;
}

/* Opens one name after the other that nobody has opened before. */
static void *newcomer(void *directory)
{
	char path[200];
	for (unsigned i = 0;; i++) {
		sprintf(path, "%s/%d-%u", (char *)directory, gettid(), i);
		syscall(SYS_openat, AT_FDCWD, path, SERIAL);
	}
	return NULL;
}

static pthread_t start(void *(*what)(void *), char *path)
{
	pthread_t t;
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	if (pthread_create(&t, &small, what, path) != 0)
		fail("pthread_create");
	return t;
}

static pthread_t start_thread(char *path)
{
	return start(thread, path);
}

static volatile sig_atomic_t signals;

static void count(int number)
{
	(void)number;
	signals++;
}

static void on(int number, int flags)
{
	struct sigaction action = { .sa_handler = count, .sa_flags = flags };
	sigaction(number, &action, NULL);
}

static void every(int milliseconds, int again)
{
	struct timeval t = { .tv_usec = milliseconds * 1000L };
	struct itimerval timer = { .it_value = t };
	if (again)
		timer.it_interval = t;
	setitimer(ITIMER_REAL, &timer, NULL);
}

#ifdef __x86_64__
/* A call of the i386 table, as a 32-bit program makes it: its pointers have 32 bits. */
static void try_i386(const char *path)
{
	const char *names[] = { "i386-open", "i386-openat" };
	char *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long calls[] = { 5 /* open */, 295 /* openat */ };
	if (low == MAP_FAILED)
		fail("mmap");
	strcpy(low, path);
	for (int i = 0; i < 2; i++) {
		if (!is_meant(names[i]))
			continue;
		long start = now(), result, a = i ? AT_FDCWD : (long)low, b = i ? (long)low : SERIAL;
		asm volatile("int $0x80" : "=a"(result) : "a"(calls[i]), "b"(a), "c"(b), "d"(SERIAL)
			     : "memory", "r8", "r9", "r10", "r11");
		say(names[i], result, -result, start);
	}
}
#endif

/* Two pages, of which the second cannot be read. */
static char *last_page(long page)
{
	char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || mprotect(memory + page, page, PROT_NONE) != 0)
		fail("mmap");
	return memory;
}

static void bad_paths(void)
{
	static char path[8192];
	long page = sysconf(_SC_PAGESIZE);
	char *memory = last_page(page);

	try("null", NULL, SERIAL);
	try("one", (char *)1, SERIAL);
	try("kernel", (char *)~0xffful, SERIAL);
	try("unmapped", memory + page, SERIAL);
	memset(memory, 'x', page);
	try("unterminated", memory + page - 10, SERIAL);
	memset(path, '/', sizeof path - 1);
	try("endless", path, SERIAL);
	path[4095] = 0;
	memcpy(path + 4095 - 10, "dev/no-one", 10);
	try("longest", path, SERIAL);
	try("empty", "", SERIAL);
	try_at("closed", 99, "zwave", SERIAL);
}

static void connect_as(uid_t user, char *path)
{
	const char follow[] = "{\"ttyplugd\":1,\"follow\":true}\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char *name = strrchr(path, '/'), answer;
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	*name++ = 0;
	strncpy(address.sun_path, name, sizeof address.sun_path - 1);
	if (chdir(path) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)
		fail(path);
	if (connect(s, (struct sockaddr *)&address, sizeof address) != 0)
		puts(strerrorname_np(errno));
	else if (send(s, follow, sizeof follow - 1, MSG_NOSIGNAL) < 0 || read(s, &answer, 1) <= 0)
		puts("refused");
	else
		puts("answered");
}

/* Opens a path again and again until standard input ends, and tells how often with which result. Its first
 * line only says that it runs. */
static void storm(const char *way, const char *path)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	int opened = 0, times[200] = { 0 };

	printf("%s ok 0\n", way);
	fflush(stdout);
	while (poll(&input, 1, 0) == 0) {
		int fd = open(path, SERIAL);
		if (fd < 0) {
			times[errno % 200]++;
		} else {
			opened++;
			close(fd);
		}
	}
	printf("%s ok %d\n", way, opened);
	for (int error = 0; error < 200; error++)
		if (times[error] > 0)
			printf("%s %s %d\n", way, strerrorname_np(error), times[error]);
}

static int log_file;

static long microseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

/* Opens a path again and again. Each open is one line of the log, which its program shares with those
 * that it runs in later: the path, the result, when it began and when it ended, and the minor number
 * of the device. */
static void *always(void *path)
{
	for (;; usleep(20 * 1000)) {
		char line[300];
		struct stat s = { .st_rdev = 0 };
		long begun = microseconds();
		int fd = syscall(SYS_openat, AT_FDCWD, path, SERIAL), error = errno;
		long ended = microseconds();
		if (fd >= 0) {
			fstat(fd, &s);
			close(fd);
		}
		int length = sprintf(line, "%s %s %ld %ld %u\n", (char *)path,
				     fd >= 0 ? "ok" : strerrorname_np(error), begun, ended,
				     minor(s.st_rdev));
		if (write(log_file, line, length) != length)
			_exit(1);
	}
	return NULL;
}

static void leave(int number)
{
	(void)number;
	_exit(0);
}

/* Joins a control group, and says for each device how it may be opened there: 1 for reading, 2 for
 * writing, 4 for both. */
static void rights(char *group, int devices, char **device)
{
	const int ways[] = { O_RDONLY, O_WRONLY, O_RDWR };
	int procs = open(group, O_WRONLY);
	if (procs < 0 || write(procs, "0", 1) != 1)
		fail(group);
	for (int i = 0; i < devices; i++) {
		int may = 0;
		for (int way = 0; way < 3; way++) {
			int fd = open(device[i], ways[way] | O_NOCTTY | O_NONBLOCK);
			if (fd >= 0 || errno != EPERM)
				may |= 1 << way;
			if (fd >= 0)
				close(fd);
		}
		printf("%d%c", may, i + 1 < devices ? ' ' : '\n');
	}
}

int main(int count, char **argument)
{
	const char *way = count > 1 ? argument[1] : "";
	char *path = count > 2 ? argument[2] : "";

	signal(SIGPIPE, SIG_IGN);
	if (strcmp(way, "once") == 0) {
		for (int i = 2; i < count; i++)
			try(way, argument[i], SERIAL);
	} else if (strcmp(way, "flags") == 0) {
		only = count > 3 ? argument[3] : NULL;
		try("nonblock", path, SERIAL | O_NONBLOCK | O_CLOEXEC | O_SYNC);
		try("without-noctty", path, O_RDWR | O_NONBLOCK);
#ifdef SYS_open
		if (is_meant("open")) {
			long start = now();
			int fd = syscall(SYS_open, path, SERIAL);
			say("open", fd, errno, start);
		}
#endif
#ifdef __x86_64__
		try_i386(path);
#endif
	} else if (strcmp(way, "wide") == 0) {
		only = count > 3 ? argument[3] : NULL;
		try("plain", path, O_RDWR);
		try("update", path, O_RDWR | O_CLOEXEC | O_TRUNC);
		try("read-noctty", path, O_RDONLY | O_NOCTTY);
		try("read-nonblock", path, O_RDONLY | O_NONBLOCK);
		try("read-both", path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	} else if (strcmp(way, "others") == 0) {
		try("read-only", path, O_RDONLY | O_CLOEXEC);
		try("write-only", path, O_WRONLY | O_NOCTTY | O_NONBLOCK);
		try("path", path, O_PATH | O_NOCTTY);
		try("directory", path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_DIRECTORY);
	} else if (strcmp(way, "at") == 0 && count > 3) {
		try_at(way, open(path, O_PATH | O_DIRECTORY), argument[3], SERIAL);
	} else if (strcmp(way, "in") == 0 && count > 3) {
		if (chdir(path) != 0)
			fail(path);
		try(way, argument[3], SERIAL);
	} else if (strcmp(way, "chroot") == 0 && count > 3) {
		if (chroot(path) != 0 || chdir("/") != 0)
			fail(path);
		try(way, argument[3], SERIAL);
	} else if (strcmp(way, "twice") == 0) {
		for (int i = 0; i < 2; i++)
			try(way, path, SERIAL);
	} else if (strcmp(way, "cost") == 0 && count > 3) {
		if (setresuid(atoi(path), atoi(path), atoi(path)) != 0)
			fail("setresuid");
		for (int i = 4; i < count; i++)
			cost(atoi(argument[3]), argument[i]);
	} else if (strcmp(way, "threads") == 0 && count > 3) {
		int n = atoi(argument[3]);
		pthread_t t[n];
		for (int i = 0; i < n; i++)
			t[i] = start_thread(path);
		for (int i = 0; i < n; i++)
			pthread_join(t[i], NULL);
	} else if (strcmp(way, "newcomers") == 0 && count > 3) {
		/* Each of them is interrupted every millisecond, until standard input ends: without a
		 * pause, this thread alone keeps a processor busy, and whoever is to act waits for it. */
		int n = atoi(argument[3]);
		pthread_t t[n];
		struct pollfd input = { .fd = 0, .events = POLLIN };
		on(SIGALRM, 0);
		for (int i = 0; i < n; i++)
			t[i] = start(newcomer, path);
		while (poll(&input, 1, 1) == 0)
			for (int i = 0; i < n; i++)
				pthread_kill(t[i], SIGALRM);
	} else if (strcmp(way, "storm") == 0) {
		storm(way, path);
	} else if (strcmp(way, "fork") == 0) {
		/* The child is made after the thread has come into its open, or it proves nothing. */
		pthread_t t = start_thread(path);
		if (getchar() == EOF)
			return 1;
		pid_t child = fork();
		if (child == 0) {
			try("child", "/dev/ptmx", SERIAL);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		pthread_join(t, NULL);
	} else if (strcmp(way, "restarted") == 0) {
		on(SIGALRM, SA_RESTART);
		every(50, 1);
		try(way, path, SERIAL);
		every(0, 0);
		printf("signals ok %d\n", (int)signals);
	} else if (strcmp(way, "interrupted") == 0) {
		on(SIGALRM, 0);
		every(300, 0);
		try(way, path, SERIAL);
	} else if (strcmp(way, "stopped") == 0) {
		/* As libuv: to end, the program waits for its thread that sits in the open. */
		sigset_t term;
		int got;
		sigemptyset(&term);
		sigaddset(&term, SIGTERM);
		sigprocmask(SIG_BLOCK, &term, NULL);
		pthread_t t = start_thread(path);
		sigwait(&term, &got);
		pthread_join(t, NULL);
	} else if (strcmp(way, "edge") == 0) {
		long page = sysconf(_SC_PAGESIZE);
		char *end = last_page(page) + page - strlen(path) - 1;
		try(way, strcpy(end, path), SERIAL);
	} else if (strcmp(way, "bad") == 0) {
		bad_paths();
	} else if (strcmp(way, "always") == 0 && count > 3) {
		signal(SIGTERM, leave);
		log_file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
		if (log_file < 0)
			fail(path);
		for (int i = 3; i < count; i++)
			start(always, argument[i]);
		for (;;)
			pause();
	} else if (strcmp(way, "rights") == 0 && count > 3) {
		rights(path, count - 3, argument + 3);
	} else if (strcmp(way, "connect") == 0 && count > 3) {
		connect_as(atoi(argument[3]), path);
	} else {
		fprintf(stderr, "opens: unknown way %s\n", way);
		return 2;
	}
	return 0;
}
