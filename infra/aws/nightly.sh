#!/bin/sh
# nightly.sh CLUSTER COMMAND: starts a cluster of Ray's launcher, runs a command on its head, and takes the cluster down
# again, whatever happens. Exits with 0 if the command did and the cluster is down, and with 5 while an earlier call is
# at work.
set -u
cluster=$1 command=$2

# Not in /tmp, where another user could hold it, or have the night write over a file.
exec 9>"$HOME/.earmark-nightly.lock"
flock --nonblock 9 || { echo "nightly.sh: the last run is still going on" >&2; exit 5; }

take_down() {
    code=$?
    # A second signal must not leave the machines running, nor a moment in which AWS does not answer.
    trap '' HUP INT TERM
    for pause_s in 10 60 0; do
        ray down -y "$cluster" 9>&- && exit "$code"
        sleep "$pause_s"
    done
    echo "nightly.sh: the cluster is not down and goes on to cost money: run 'ray down -y $cluster'" >&2
    exit 1
}
trap 'exit 130' HUP INT TERM
trap take_down EXIT
# A cluster that is up has work to do, such as a run by hand: without --no-restart, `ray up` would end it.
ray up -y --no-restart "$cluster" 9>&- || exit
ray exec "$cluster" "timeout --foreground --preserve-status 20h env $command" 9>&-
