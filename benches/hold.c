/* Opens files as serial programs do, inside a container or beside one, and says when and how fast.
 *
 *   hold once PATH           opens, and says when that returned
 *   hold retry PATH          opens, and again every second until that succeeds, and says when it did
 *   hold threads PATH N      opens in N threads at once, and says when the last of them returned
 *   hold plain N             N batches of opens that nobody asks about; how long a call of each took
 *   hold trapped PATH N      N opens, and how long each took
 *   hold agent PATH N        the same, below a filter of its own whose agent only says "go on"
 *
 * It does so once for every line of its standard input. Times are nanoseconds, points in time are
 * of CLOCK_MONOTONIC, which is one clock for all containers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SERIAL (O_RDWR | O_NOCTTY | O_NONBLOCK)
#define BATCH 1000

/* Since Linux 6.6; the header may be older. */
#define SET_FLAGS SECCOMP_IOW(4, __u64)
#define SYNC_WAKE_UP 1

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The call itself: a libc may use another one. */
static int open_port(const char *path)
{
	return syscall(SYS_openat, AT_FDCWD, path, SERIAL);
}

/* When the open returned. That it failed is no answer to what is measured. */
static long opened(const char *path)
{
	int fd = open_port(path);
	long time = now();
	if (fd < 0)
		fail(path);
	close(fd);
	return time;
}

static long opened_at_last(const char *path)
{
	struct timespec second = { .tv_sec = 1 };
	int fd;
	while ((fd = open_port(path)) < 0)
		nanosleep(&second, NULL);
	long time = now();
	close(fd);
	return time;
}

struct opener {
	pthread_t thread;
	const char *path;
	long time;
};

static void *in_thread(void *of)
{
	struct opener *opener = of;
	opener->time = opened(opener->path);
	return NULL;
}

static long opened_by_all(const char *path, int count)
{
	struct opener *all = calloc(count, sizeof *all);
	long last = 0;
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	for (int i = 0; i < count; i++) {
		all[i].path = path;
		if (pthread_create(&all[i].thread, &small, in_thread, &all[i]) != 0)
			fail("pthread_create");
	}
	for (int i = 0; i < count; i++) {
		pthread_join(all[i].thread, NULL);
		if (all[i].time > last)
			last = all[i].time;
	}
	free(all);
	return last;
}

/* Descriptor 99 is not open, so that next to nothing is measured but the way into the kernel. */
static void plain(int count)
{
	for (int i = 0; i < count; i++) {
		long start = now();
		for (int call = 0; call < BATCH; call++)
			syscall(SYS_openat, 99, "x", O_RDONLY | O_CLOEXEC);
		printf("%f ", (double)(now() - start) / BATCH);
	}
}

static void trapped(const char *path, int count)
{
	for (int i = 0; i < count; i++) {
		long start = now();
		int fd = open_port(path);
		printf("%ld ", now() - start);
		if (fd >= 0)
			close(fd);
	}
}

/* The least that an agent can do. It is below the filter itself and ends with its parent. Like the
 * keeper it takes turns with it on one processor: otherwise chance decides what is measured. */
static void start_agent(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, O_ACCMODE | O_CREAT | O_NOCTTY),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, O_RDWR | O_NOCTTY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof code / sizeof *code, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		fail("prctl");
	int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			       SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
	if (listener < 0)
		fail("seccomp");
	ioctl(listener, SET_FLAGS, SYNC_WAKE_UP);
	if (fork() != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct seccomp_notif asked = { 0 };
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0)
			continue;
		struct seccomp_notif_resp answer = {
			.id = asked.id,
			.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
		};
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

int main(int words, char **word)
{
	if (words < 3)
		return 2;
	const char *way = word[1], *path = word[2];
	int count = atoi(word[words - 1]);
	char line[100];

	if (strcmp(way, "agent") == 0)
		start_agent();
	while (fgets(line, sizeof line, stdin)) {
		if (strcmp(way, "once") == 0)
			printf("%ld", opened(path));
		else if (strcmp(way, "retry") == 0)
			printf("%ld", opened_at_last(path));
		else if (strcmp(way, "threads") == 0)
			printf("%ld", opened_by_all(path, count));
		else if (strcmp(way, "plain") == 0)
			plain(count);
		else
			trapped(path, count);
		putchar('\n');
		fflush(stdout);
	}
	return 0;
}
