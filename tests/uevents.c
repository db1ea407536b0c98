/* Sends messages to those who listen to udevd, and what does not look like udevd's to those who listen to
 * the kernel (netlink(7), NETLINK_KOBJECT_UEVENT).
 *
 *   uevents TIMES FILE
 *
 * FILE has the messages one after another, each behind its length as four bytes in the machine's
 * order. All of them are sent TIMES times. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The multicast groups. */
#define KERNEL 1
#define UDEV 2

static char messages[1 << 20];

int main(int count, char **argument)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	if (count != 3 || s < 0)
		err(1, "uevents TIMES FILE");
	FILE *file = fopen(argument[2], "r");
	if (!file)
		err(1, "%s", argument[2]);
	char *end = messages + fread(messages, 1, sizeof(messages), file);

	for (long times = atol(argument[1]); times > 0; times--) {
		uint32_t length;
		for (char *m = messages; m < end; m += length) {
			memcpy(&length, m, sizeof(length));
			m += sizeof(length);
			to.nl_groups = strncmp(m, "libudev", length) ? KERNEL : UDEV;
			/* ENOBUFS says that somebody's queue is full, ESRCH that nobody listens. */
			if (sendto(s, m, length, 0, (struct sockaddr *)&to, sizeof(to)) < 0
			    && errno != ENOBUFS && errno != ESRCH)
				err(1, "sendto");
		}
	}
	return 0;
}
