/*
 * What a program may do that its image marks as privileged: prints its ids, its
 * effective capabilities, and how three privileged calls end. Linked statically,
 * so that any image can hold it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static void say(const char *what, int result)
{
	printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "done");
}

int main(void)
{
	uid_t real, effective, saved;
	char line[256], capability[64];
	FILE *status = fopen("/proc/self/status", "r");

	getresuid(&real, &effective, &saved);
	printf("uid %u %u %u\n", real, effective, saved);
	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "CapEff:", 7) || !strncmp(line, "CapPrm:", 7))
			fputs(line, stdout);
	/* Whether the image carries the mark at all. */
	printf("marked %s\n", getxattr("/proc/self/exe", "security.capability",
	       capability, sizeof(capability)) > 0 ? "yes" : "no");
	/* Three calls that change nothing outside of this process. */
	say("unshare", unshare(CLONE_NEWNS));
	say("chroot", chroot("/"));
	say("setuid", setuid(0));
	return 0;
}
