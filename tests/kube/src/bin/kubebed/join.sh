#!/usr/bin/env bash
# Starts one node, and becomes the process that holds it: whoever kills this process switches the node off.
#   join.sh NODE BED HOLDER TOOLS NUMBER
# NODE is its name, BED the bed's folder, HOLDER a process in the control plane's network, TOOLS the installed programs.
set -euo pipefail
node=$1 bed=$2 holder=$3 tools=$4 number=$5

# A control group of its own in every hierarchy, below that of whoever runs the bed, so that what limits them limits the
# node. Its folders are written down first: they are what no namespace takes along when it ends.
name=petctl-bed-$(basename "$bed")-$node
while IFS=: read -r _ controllers path; do
    case $controllers in
    "") root=/sys/fs/cgroup/unified ;;
    *) root=/sys/fs/cgroup/${controllers#name=} ;;
    esac
    if [ -z "$controllers" ] && [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        # In the one hierarchy of newer systems a group that holds processes, as the bed's own does, hands nothing down.
        root=/sys/fs/cgroup path=/
        for controller in $(cat "$root/cgroup.controllers"); do
            echo "+$controller" >"$root/cgroup.subtree_control" || true
        done
    fi
    [ -d "$root" ] || continue
    group=$root${path%/}/$name
    grep -qxF "$group" "$bed/cgroups" 2>/dev/null || printf '%s\n' "$group" >>"$bed/cgroups"
    mkdir -p "$group"
    if [ "$controllers" = cpuset ]; then
        # A cpuset is born empty, and nothing can join an empty one.
        cat "$root${path%/}/cpuset.cpus" >"$group/cpuset.cpus"
        cat "$root${path%/}/cpuset.mems" >"$group/cpuset.mems"
    fi
    echo $$ >"$group/cgroup.procs"
done </proc/self/cgroup

# The way to the control plane's network, which has no name that could be found from inside.
exec 9<"/proc/$holder/ns/net"
exec unshare --net --mount --pid --uts --ipc --cgroup --fork --kill-child --mount-proc \
    bash "$bed/node.sh" "$node" "$bed" "$tools" "$number"
