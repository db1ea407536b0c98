# containerd with CRI and without Docker, as on a Kubernetes node: the package is installed with apt, and the
# drop-in of the examples gives containerd the runtime.

mkdir -p /etc/containerd/conf.d
# What a node has there already, but for the image of its sandboxes, which comes from no registry here.
cat >/etc/containerd/config.toml <<END
version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '$image'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = true
END
timeout 300 apt-get -q install -y --no-install-recommends /e2e/ttyplugd_*.deb
within 60 "the service answers" answers
expect "the service" active "$(systemctl is-active ttyplugd)"
# Nobody is to miss Docker here.
mkdir -p /etc/ttyplugd/conf.d
echo 'engines = []' >/etc/ttyplugd/conf.d/engines.toml
systemctl restart ttyplugd
within 60 "the service answers" answers

cp /usr/share/doc/ttyplugd/examples/kubernetes/ttyplug.toml /etc/containerd/conf.d/
systemctl restart containerd
within 60 "containerd answers by CRI" cri version
import_busybox
keep versions sh -c '/e2e/cri version; containerd --version; runc --version; uname -r; systemctl --version'
keep configuration containerd config dump
keep check ttyplugd check
grep -q '^no errors' "$kept/$name.check.txt" || fail "check finds errors on a node without pods"
keep status ttyplugd status
expect "Docker" "" "$(command -v docker || true)"
