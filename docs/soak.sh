#!/bin/bash
# Draws what `make soak` has measured, each quantity from zero on:
#
#   docs/soak.sh target/chaos/soak.csv >docs/soak.svg
#
# A point is the median of a hundredth of the run.
set -euo pipefail

# rows of: the name of a quantity, the hundredth of the run, the median in it.
medians() {
    awk -F, '
        NR == 1 { for (i = 2; i <= NF; i++) name[i] = $i; next }
        { line[++n] = $0 }
        END {
            for (l = 1; l <= n; l++) {
                split(line[l], value, ",")
                for (i in name) print name[i], int(100 * (l - 1) / n), value[i]
            }
        }' "$1" | sort -k1,1 -k2,2n -k3,3n | awk '
        $1 " " $2 != group { if (n) print group, value[int((n + 1) / 2)]; group = $1 " " $2; n = 0 }
        { value[++n] = $3 }
        END { print group, value[int((n + 1) / 2)] }'
}

seconds=$(($(wc -l <"$1") - 1))
medians "$1" | awk -v seconds="$seconds" '
    BEGIN {
        title["latency_us"] = "from the uevent to the last of eight containers, in ms"; unit["latency_us"] = 1000
        title["daemon_kb"] = "the memory of the daemon, in MB"; unit["daemon_kb"] = 1024
        title["daemon_fds"] = "its descriptors"; unit["daemon_fds"] = 1
        title["keepers_kb"] = "the memory of 16 keepers, in MB"; unit["keepers_kb"] = 1024
        title["keepers_fds"] = "their descriptors"; unit["keepers_fds"] = 1
        count = split("latency_us daemon_kb daemon_fds keepers_kb keepers_fds", order, " ")
    }
    { at[$1, $2] = $3 / unit[$1]; if (at[$1, $2] > most[$1]) most[$1] = at[$1, $2] }
    END {
        width = 640; height = 60; gap = 34
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" " \
            "font-family=\"sans-serif\" font-size=\"12\">\n", width + 80, count * (height + gap) + 20
        print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        for (q = 1; q <= count; q++) {
            name = order[q]
            top = 24 + (q - 1) * (height + gap)
            printf "<text x=\"10\" y=\"%d\">%s</text>\n", top - 6, title[name]
            printf "<path d=\"M10 %d h%d\" stroke=\"#bbb\"/>\n", top + height, width
            printf "<polyline fill=\"none\" stroke=\"#06c\" points=\""
            for (x = 0; x < 100; x++)
                if ((name, x) in at)
                    printf "%.1f,%.1f ", 10 + x * width / 99, top + height * (1 - at[name, x] / (1.1 * most[name]))
            printf "\"/>\n<text x=\"%d\" y=\"%d\">%.1f</text>\n", width + 18, \
                top + height * (1 - at[name, 99] / (1.1 * most[name])) + 4, at[name, 99]
        }
        printf "<text x=\"10\" y=\"%d\">32 containers, a plug or an unplug a second, for %d s</text>\n</svg>\n", \
            24 + count * (height + gap), seconds
    }'
