#!/bin/bash
# Process 1 of a node: gives it directories of its own, then takes in orphans until it is killed, and all of the node with it.
#
#   node.sh NAME STATE    NAME is the node's; STATE the cluster's directory, with nodes/NAME for what is large
#
# The rest of the file system is the machine's own, seen through overlays where Kubernetes writes, so that nothing of a node
# ever lies in the machine's directories. Mounts are shared within the node: that is how the kubelet hands them to pods.
set -eu
name=$1
state=$2

# Our own id, as the outside sees it: /proc is still the outside's.
read -r pid _ </proc/self/stat
hostname "$name"
mount --make-rprivate /
mount --make-rshared /
mount -t proc proc /proc

room=$(mktemp -d /run/node.XXXXXX)
mount -t tmpfs -o mode=0755 tmpfs "$room"
mkdir "$room/state"
mount --bind "$state" "$room/state"
disk=$room/state/nodes/$name
for part in etc opt var; do
    mkdir -p "/$part" "$room/upper/$part" "$room/work/$part"
    mount -t overlay -o "lowerdir=/$part,upperdir=$room/upper/$part,workdir=$room/work/$part" overlay "/$part"
done
# Should the cluster's directory lie below one of them: it stays what it was.
mount --bind "$room/state" "$state"
rm -rf /var/lib/flatroute /var/lib/cni /var/log/pods /var/log/containers /etc/cni /opt/cni
mkdir -p "$disk/containerd" "$disk/kubelet" /var/lib/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /etc/cni/net.d /opt/cni/bin
mount --bind "$disk/containerd" /var/lib/containerd
mount --bind "$disk/kubelet" /var/lib/kubelet

# Look-ups of names from a node go nowhere; refused at once, they cost nothing.
rm -f /etc/resolv.conf
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >/etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$name" >/etc/hosts

cd "$disk"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/containerd /run/lock
# Whoever waits for this file finds everything in place.
echo "$pid" >pid.new
mv pid.new pid
cd /

trap 'exit 0' TERM
# This shell is where orphans go: waiting for one child, it takes in the others.
while :; do
    sleep 3600 &
    wait $! || :
done
