/* The service of the benchmark: says "NUMBER TIME" on the meter's pipe, TIME
 * being CLOCK_BOOTTIME in nanoseconds, and waits. In C, so that ten of them
 * weigh little beside the init that is measured. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;
	char line[64];
	clock_gettime(CLOCK_BOOTTIME, &now);
	int pipe = open("/bench/up", O_WRONLY | O_CLOEXEC);
	int n = snprintf(line, sizeof line, "%s %lld%09ld\n", argc > 1 ? argv[1] : "?", (long long)now.tv_sec, now.tv_nsec);
	if (pipe < 0 || write(pipe, line, n) != n)
		return 1;
	close(pipe);
	for (;;)
		pause();
}
