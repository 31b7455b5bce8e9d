#!/usr/bin/env bash
# A node from the inside: its first process, in namespaces of its own. It sees the machine's files, but for those that
# a node writes: they are in memory, or in the bed's folder.
set -euo pipefail
node=$1 bed=$2 tools=$3 number=$4
address=10.77.0.$((10 + number))
pods=10.78.$number.0/24

hostname "$node"
# --- files. What the container runtime and the kubelet leave in /run, /var/lib and /var/log stays in the node.
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/bed /mnt/tools
mount --rbind "$bed" /mnt/bed
mount --rbind "$tools" /mnt/tools
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns /run/lock
own=/mnt/bed/$node
mkdir -p "$own/containerd" "$own/kubelet" "$own/log" "$own/cni-state"
for place in /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs "$place"; done
mkdir /var/lib/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
mount --bind "$own/containerd" /var/lib/containerd
mount --bind "$own/kubelet" /var/lib/kubelet
mount --bind "$own/cni-state" /var/lib/cni
mount --bind "$own/log" /var/log/pods

# The kubelet sets these for the whole machine. It is shown what it wants to see, so that it leaves them alone.
masks=/run/sysctl
mkdir "$masks"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$masks/$(tr / . <<<"${setting%=*}")
    printf '%s\n' "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done

# --- control groups: the namespace's root is the node's own group, so mounted anew they show the node's part alone.
mount -t sysfs sysfs /sys
if grep -q '^[0-9]*:[^:]\+:' /proc/self/cgroup; then
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    while IFS=: read -r _ controllers _; do
        [ -n "$controllers" ] || continue
        mkdir "/sys/fs/cgroup/${controllers#name=}"
        case $controllers in
        name=*) options=none,$controllers ;;
        *) options=$controllers ;;
        esac
        mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/${controllers#name=}"
    done </proc/self/cgroup
else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # A group whose controllers are handed down holds no process itself.
    mkdir -p /sys/fs/cgroup/init
    for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo "$pid" >/sys/fs/cgroup/init/cgroup.procs || true; done
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
    done
fi
mount --make-rshared /

# --- network: one cable to the control plane, which routes between the nodes and to their pods.
touch /run/netns/plane
mount --bind /proc/self/fd/9 /run/netns/plane
exec 9<&-
ip link set lo up
# After a power cut the kernel takes a moment to remove the old cable.
ip -n plane link del "$node" 2>/dev/null || true
ip link add eth0 type veth peer name "$node" netns plane
ip addr add "$address/32" dev eth0
ip link set eth0 up
ip route add 10.77.0.1 dev eth0
ip route add default via 10.77.0.1 src "$address"
ip -n plane addr add 10.77.0.1 peer "$address" dev "$node"
ip -n plane link set "$node" up
ip -n plane route replace "$pods" via "$address" dev "$node"
umount /run/netns/plane
rm /run/netns/plane
echo 1 >/proc/sys/net/ipv4/ip_forward

# --- its programs
mkdir -p "$own/cni"
# Pods get a cable each and no bridge: all they send is routed, so that a Service's rules see it on one node too.
cat >"$own/cni/10-pods.conflist" <<CNI
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses",
    "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CNI
cat >"$own/containerd.toml" <<TOML
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "petctl.local/pause:1"
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$own/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
TOML
# Names are not resolved in the bed: what asks is to fail at once, and not to wait for the machine's own servers.
printf 'options timeout:1 attempts:1\n' >"$own/resolv.conf"
# One node is as before 1.36: its kubelet says nothing of how the devices of pods are.
of_before=
[ "$node" != n3 ] || of_before='featureGates: {ResourceHealthStatus: false, ResourceHealthStatusMessage: false}'
cat >"$own/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
healthzBindAddress: 127.0.0.1
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
protectKernelDefaults: true
oomScoreAdj: 0
tlsCertFile: /mnt/bed/pki/$node.crt
tlsPrivateKeyFile: /mnt/bed/pki/$node.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /mnt/bed/pki/ca.crt}}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
resolvConf: $own/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 6
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
$of_before
YAML
cat >"$own/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: /mnt/bed/pki/proxy.kubeconfig}
hostnameOverride: $node
clusterCIDR: 10.78.0.0/16
oomScoreAdj: 0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
iptables: {minSyncPeriod: 0s, syncPeriod: 30s}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML

containerd --config "$own/containerd.toml" >>"/mnt/bed/logs/$node-containerd.log" 2>&1 &
# The kubelet's retries grow long: it is started when there is someone to answer it.
until [ -e /mnt/bed/api-ready ] && [ -S /run/containerd/containerd.sock ]; do sleep 0.05; done
"/mnt/tools/kubelet" --config="$own/kubelet.yaml" --kubeconfig="/mnt/bed/pki/$node.kubeconfig" \
    --hostname-override="$node" --node-ip="$address" --root-dir=/var/lib/kubelet --cert-dir=/run/kubelet-certificates \
    >>"/mnt/bed/logs/$node-kubelet.log" 2>&1 &
"/mnt/tools/kube-proxy" --config="$own/proxy.yaml" >>"/mnt/bed/logs/$node-proxy.log" 2>&1 &
# The first process of a node reaps what others leave to it, which bash does while it waits.
while :; do wait || true; sleep 1; done
