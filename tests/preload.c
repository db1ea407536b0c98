/* Loaded into a program by LD_PRELOAD (ld.so(8)). It leaves a trace if the program runs as root. */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
    int trace;

    if (geteuid() != 0)
        return;
    trace = open("/app/ran", O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (trace >= 0 && write(trace, "preload\n", 8) == 8)
        close(trace);
}
