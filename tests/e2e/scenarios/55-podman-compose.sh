# podman-compose: the service of a compose file, as it is for Docker. The port is one of the file, by
# project and service.

mkdir -p /run/e2e/home
cat >/run/e2e/home/compose.yaml <<END
services:
  zig:
    image: $image
    runtime: ttyplug
    network_mode: none
    command: ["sh", "-c", "$uses_port", "app", "/dev/zwave"]
END
mkdir -p /etc/ttyplugd/conf.d
cat >/etc/ttyplugd/conf.d/e2e.toml <<'END'
[[port]]
name = "zwave"
match = { vendor = "0658", product = "0200" }
containers = ["home/zig"]
node = "/dev/zwave"
hold = "30m"
END
systemctl reload ttyplugd
cd /run/e2e/home
timeout 300 podman-compose up --detach
container=$(podman ps --format '{{.Names}}')
expect "its runtime" ttyplug "$(podman inspect --format '{{.OCIRuntime}}' "$container")"
within 60 "its open is held" holds "$container"
listen 0
plug 0 "${zwave[@]}"
within 90 "the open has succeeded: the stick hears the application" heard 0 said-by-app
timeout 300 podman-compose down --timeout 0
