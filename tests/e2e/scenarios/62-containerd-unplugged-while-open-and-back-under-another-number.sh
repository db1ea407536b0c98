# What 12 tries with Docker, with a pod.
. /e2e/scenarios/12-unplugged-while-open-and-back-under-another-number.sh
