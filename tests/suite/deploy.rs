//! Deployments, held as far as a machine without a container runtime, a cluster or a cloud can: the image's tree is run as a
//! container would, the package is installed and purged, and what the manifests say is held against what the host reads.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    harness::{PATIENCE, Setup, artifacts, http, yaml},
    scenario::ready,
};

/// Where what was built lies.
fn built() -> String {
    artifacts::host().parent().expect("it lies in a folder").display().to_string()
}

fn run(program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    // Each bounds itself; this is for one that does not.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120"]).arg(artifacts::root().join(program)).args(arguments);
    command.envs(env.iter().copied()).output().expect("it runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The mounts need root. Elsewhere these tests have nothing to say.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: needs root");
    }
    root
}

#[test]
fn the_images_tree_serves_as_a_container_without_privileges_and_verify_approves() {
    // Its library folders and the documentation's commands are all that is used.
    if is_root() {
        let output = run("deploy/try", &[&built()], &[]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        for step in ["run (assistant)", "run (echo)", "another user", "ended with 0 at SIGTERM"] {
            assert!(said.contains(step), "no {step:?}: {said}");
        }
    }
}

/// The twin.
#[test]
fn a_tree_with_a_plugin_that_is_none_is_not_approved() {
    if is_root() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["agent-host", "libecho.so", "libassistant.so", "libsupervisor.so"] {
            std::fs::copy(Path::new(&built()).join(name), folder.path().join(name)).unwrap();
        }
        // A library, and no plugin.
        std::fs::copy("/lib/x86_64-linux-gnu/libm.so.6", folder.path().join("libecho.so")).unwrap();
        let output = run("deploy/try", &[folder.path().to_str().unwrap()], &[]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("expected full") && said.contains("echo (plugin."), "{said}");
    }
}

#[test]
fn the_package_installs_serves_and_leaves_nothing_after_a_purge() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let made = run("deploy/debian/build", &[&built(), out], &[("DEB_COMPRESSION", "none")]);
    assert!(made.status.success(), "{}", said(&made));
    let deb = std::fs::read_dir(out).unwrap().next().expect("a package").unwrap().path();
    let deb = deb.to_str().unwrap();
    assert!(deb.contains(&format!("agent-host_{}-1_", env!("CARGO_PKG_VERSION"))), "{deb}");

    // It has what the image has, and the unit.
    let image = folder.path().join("image");
    assert!(run("deploy/layout", &[image.to_str().unwrap(), &built()], &[]).status.success());
    let tree = folder.path().join("tree");
    let unpacked = Command::new("dpkg-deb").args(["-x", deb]).arg(&tree).status().unwrap();
    assert!(unpacked.success());
    for place in ["usr", "etc"] {
        for file in files(&image.join(place)) {
            let file = format!("{place}/{file}");
            let kept = !file.contains("/doc/");
            assert!(!kept || tree.join(&file).symlink_metadata().is_ok(), "{file} is not in the package");
        }
    }
    let unit = tree.join("lib/systemd/system/agent-host.service");
    assert!(unit.exists());
    // systemd's own word on the unit; it misses the rest of a machine there, of which the unit names the shell.
    let shell = tree.join("bin/sh");
    std::fs::create_dir_all(shell.parent().unwrap()).unwrap();
    std::fs::write(&shell, "#!").unwrap();
    std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o755)).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no", &format!("--root={}", tree.display()), "agent-host.service"])
        .output();
    if let Ok(verified) = verified {
        let said = said(&verified);
        for wrong in ["Unknown", "Failed to parse", "not executable", "Invalid", "ignoring"] {
            assert!(!said.contains(wrong), "{said}");
        }
    }
    if is_root() {
        let checked = run("deploy/debian/check", &[deb], &[]);
        let said = said(&checked);
        assert!(checked.status.success() && said.contains("installed, served, removed and purged"), "{said}");
    }
}

/// The files below a folder, links among them, by their path from there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path()).into_iter().map(|file| format!("{name}/{file}"))),
            false => found.push(name),
        }
    }
    found
}

/// What the host's configuration is with these variables: `key` to its value as it is printed.
fn effective(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let output = Command::new(artifacts::host())
        .args(["config", "print", "--effective", "--config"])
        .arg(artifacts::root().join("config"))
        .env_clear()
        .envs(variables)
        .output()
        .expect("the host's binary runs");
    assert!(output.status.success(), "{variables:?}: {}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{e}: {text}"));
    let mut found = BTreeMap::new();
    flat("", &toml::Value::Table(table), &mut found);
    found
}

fn flat(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flat(&path, value, into);
            }
        }
        toml::Value::String(text) => {
            into.insert(path.to_owned(), text.clone());
        }
        other => {
            into.insert(path.to_owned(), other.to_string());
        }
    }
}

/// A manifest's container: its variables, secrets with a value that is long enough.
fn variables(container: &Value) -> BTreeMap<String, String> {
    let env = container["env"].as_array().unwrap();
    let each = env.iter().map(|one| {
        let value = match one["value"].as_str() {
            Some(value) => value.to_owned(),
            None => {
                assert!(one["valueFrom"]["secretKeyRef"]["key"].is_string(), "{one}");
                "x".repeat(48)
            }
        };
        (one["name"].as_str().unwrap().to_owned(), value)
    });
    each.collect()
}

fn seconds(duration: &str) -> u64 {
    let number = duration.trim_end_matches('s').parse();
    number.unwrap_or_else(|_| panic!("{duration} is not in seconds"))
}

fn port(address: &str) -> u64 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// Each probe asks for a page that a sound host answers with 200, on a port that it listens on.
async fn probes_are_answered(
    container: &Value,
    ports: &BTreeMap<String, u64>,
    effective: &BTreeMap<String, String>,
) {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &container[probe]["httpGet"];
        if get.is_null() {
            assert_eq!(probe, "readinessProbe", "only that one may be left out");
            continue;
        }
        let path = get["path"].as_str().unwrap();
        let wanted = if probe == "livenessProbe" { "/live" } else { "/ready" };
        assert_eq!(path, wanted, "{probe}: a host that starts or drains lives, and is not ready");
        let port = get["port"].as_u64().or_else(|| ports.get(get["port"].as_str()?).copied());
        assert_eq!(port, Some(self::port(&effective["gateway.listen"])), "{probe}");
        let answer = http::get(host.address, path, &[], PATIENCE).await.unwrap();
        assert_eq!(answer.status, 200, "{probe}: {answer:?}");
    }
}

fn ports(container: &Value) -> BTreeMap<String, u64> {
    let ports = container["ports"].as_array().unwrap().iter();
    ports
        .map(|port| (port["name"].as_str().unwrap().to_owned(), port["containerPort"].as_u64().unwrap()))
        .collect()
}

#[tokio::test]
async fn what_the_cloud_run_service_says_is_what_the_host_reads() {
    let service = yaml::read("deploy/cloudrun.yaml").remove(0);
    let (template, spec) = (&service["spec"]["template"], &service["spec"]["template"]["spec"]);
    let container = &spec["containers"][0];
    let effective = effective(&variables(container));
    // Cloud Run's port is given as PORT, which is the container's.
    let ports = ports(container);
    assert_eq!(ports["http1"], port(&effective["gateway.listen"]));
    let with_port = BTreeMap::from([("PORT".to_owned(), "9999".to_owned())]);
    let moved = self::effective(&variables(container).into_iter().chain(with_port).collect());
    assert_eq!(moved["gateway.listen"], "0.0.0.0:9999", "PORT is honoured");
    probes_are_answered(container, &ports, &effective).await;
    // 10 s from SIGTERM to SIGKILL; closing sockets and log take up to 1.5 s.
    assert!(seconds(&effective["drain.grace"]) as f64 + 1.5 < 10.0, "{}", effective["drain.grace"]);
    assert_eq!(effective["store.durability"], "ephemeral", "its disk is memory");
    let annotations = &template["metadata"]["annotations"];
    for scale in ["minScale", "maxScale"] {
        assert_eq!(annotations[format!("autoscaling.knative.dev/{scale}")], "1", "there is no shared store");
    }
    assert_eq!(annotations["run.googleapis.com/cpu-throttling"], "false");
    assert_eq!(annotations["run.googleapis.com/execution-environment"], "gen2");
    assert_eq!(spec["timeoutSeconds"], 3600, "a WebSocket is a request");
    assert_eq!(container["image"], "IMAGE", "deploy/staging/up fills it in");
    assert!(container["command"].is_null() && container["args"].is_null(), "the image's own");
}

#[tokio::test]
async fn what_the_kubernetes_manifests_say_is_what_the_host_reads() {
    let all = yaml::read("deploy/kubernetes/agent-host.yaml");
    let of = |kind: &str| all.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let set = &of("StatefulSet")["spec"];
    let (pod, container) = (&set["template"]["spec"], &set["template"]["spec"]["containers"][0]);
    let effective = effective(&variables(container));
    let ports = ports(container);
    assert_eq!(ports["http"], port(&effective["gateway.listen"]));
    assert_eq!(ports["admin"], port(&effective["admin.listen"]));
    assert!(!effective["admin.listen"].starts_with("127."), "else it could not be scraped");
    probes_are_answered(container, &ports, &effective).await;
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(pause > 0 && pause + seconds(&effective["drain.grace"]) + 5 < grace, "{grace} s are not enough");
    // The volume is where the store is, and the only place that can be written.
    let mount = &container["volumeMounts"][0];
    assert_eq!(mount["mountPath"], effective["store.path"].as_str());
    assert_eq!(effective["store.durability"], "durable");
    assert_eq!(mount["name"], set["volumeClaimTemplates"][0]["metadata"]["name"]);
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    // The image's user.
    let docker = artifacts::read("deploy/Dockerfile");
    let user = pod["securityContext"]["runAsUser"].to_string();
    assert!(docker.contains(&format!("USER {user}:{user}\n")), "{user}");
    assert_eq!(pod["securityContext"]["fsGroup"].to_string(), user);
    assert_eq!(set["replicas"], 1, "there is no shared store");
    assert_eq!(container["args"], serde_json::json!(["serve", "--config", "/etc/agent-host"]));
    // All of it speaks of the same pods.
    let labels = &set["template"]["metadata"]["labels"];
    assert_eq!(set["selector"]["matchLabels"], *labels);
    assert_eq!(of("Service")["spec"]["selector"], *labels);
    assert_eq!(of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], *labels);
}

#[test]
fn the_dockerfile_uses_the_one_list_and_a_glibc_that_is_the_plugins() {
    let docker = artifacts::read("deploy/Dockerfile");
    let from: Vec<&str> = docker.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let [build, image] = from[..] else { panic!("two stages: {from:?}") };
    assert!(build.contains("-bookworm") && image.contains("-debian12"), "both are Debian 12: {from:?}");
    let cargo = artifacts::read("Cargo.toml");
    let rust = cargo.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap();
    assert!(build.starts_with(&format!("rust:{}", rust.trim_end_matches('"'))), "{build}: {rust}");
    assert!(docker.contains("deploy/layout /image target/release"), "what lies where is the list's");
    // Each file that is copied into the image comes out of it.
    let copies = docker.lines().filter(|line| line.starts_with("COPY --from=build"));
    assert!(copies.clone().count() > 0 && copies.into_iter().all(|line| line.contains(" /image/")));
    // What it builds is what the list wants.
    let layout = artifacts::read("deploy/layout");
    let list = layout.split_once("plugins=(").unwrap().1.split_once(')').unwrap().0;
    for plugin in list.split(' ') {
        assert!(docker.contains(&format!("-p {plugin}")), "{plugin} is not built");
    }
    assert!(docker.contains("CMD [\"serve\", \"--config\", \"/etc/agent-host\"]"));
    let ignored = artifacts::read(".dockerignore");
    assert!(ignored.contains("/target\n") && ignored.contains("/.git\n"));
}

#[test]
fn the_units_time_to_stop_is_longer_than_the_drain() {
    let unit = artifacts::read("deploy/systemd/agent-host.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
    let profile = value("Environment").and_then(|one| one.split_once('=')).expect("a profile");
    let secret = ("AGENT_HOST_SECRET".to_owned(), "x".repeat(48));
    let effective = effective(&BTreeMap::from([(profile.0.to_owned(), profile.1.to_owned()), secret]));
    let stop: u64 = value("TimeoutStopSec").unwrap().parse().unwrap();
    assert!(stop > seconds(&effective["drain.grace"]) + 5, "{stop}");
    assert_eq!(effective["store.path"], format!("/var/lib/{}", value("StateDirectory").unwrap()));
    assert_eq!(value("Type"), Some("notify"));
    assert_eq!(value("ExecStartPre"), Some("/usr/bin/agent-host config validate --config /etc/agent-host"));
    assert_eq!(value("ExecReload"), Some("/bin/sh -c 'kill -HUP $MAINPID'"));
    assert_eq!(value("RestartPreventExitStatus"), Some("78"), "a wrong configuration stays wrong");
}

/// A drop-in, for a manager that knows it: what it says is beside the unit, and nothing else.
#[test]
fn the_drop_in_for_reloads_makes_the_units_type_one_that_reloads() {
    let text = artifacts::read("deploy/systemd/notify-reload.conf");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["[Service]", "Type=notify-reload"]);
}

#[test]
fn what_ships_pleases_the_tools_that_are_here() {
    let output = run("deploy/lint", &[], &[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for tool in ["systemd-analyze", "hadolint", "kubernetes-validate"] {
        let judged = ["ok", "not installed"].map(|word| format!("lint: {word}: {tool}\n"));
        assert!(judged.iter().any(|line| said.contains(line.as_str())), "{tool}: {said}");
    }
}

#[test]
#[ignore = "long: lintian takes a minute"]
fn the_package_pleases_lintian_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    // Compressed, as lintian objects to one that is not, but not as well as it ships: a debug host is large.
    let made = run(
        "deploy/debian/build",
        &[&built(), folder.path().to_str().unwrap()],
        &[("DEB_COMPRESSION", "gzip")],
    );
    assert!(made.status.success(), "{}", said(&made));
    let deb = std::fs::read_dir(folder.path()).unwrap().next().expect("a package").unwrap().path();
    let output = run("deploy/lint", &[deb.to_str().unwrap()], &[]);
    let said = said(&output);
    let judged = said.contains("lint: ok: lintian") || said.contains("lint: not installed: lintian");
    assert!(output.status.success() && judged, "{said}");
}

/// The twin, where there is one of the tools.
#[test]
fn a_unit_that_lets_the_service_do_more_is_objected_to() {
    let folder = tempfile::tempdir().unwrap();
    let copied =
        Command::new("cp").arg("-r").arg(artifacts::root().join("deploy")).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    let unit = folder.path().join("deploy/systemd/agent-host.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    std::fs::write(&unit, text.replace("SystemCallFilter", "#").replace("CapabilityBoundingSet=", "#"))
        .unwrap();
    let lint = folder.path().join("deploy/lint");
    let output = run(lint.to_str().unwrap(), &[], &[]);
    let said = said(&output);
    if !said.contains("not installed: systemd-analyze") {
        assert!(output.status.code() == Some(1) && said.contains("systemd-analyze objects"), "{said}");
    }
}

#[test]
fn the_scripts_are_clean_to_shellcheck() {
    let root = artifacts::root();
    let mut scripts = Vec::new();
    for file in files(&root.join("deploy")) {
        let text = std::fs::read_to_string(root.join("deploy").join(&file)).unwrap();
        if text.starts_with("#!") {
            scripts.push(file);
        }
    }
    assert!(scripts.len() >= 7, "{scripts:?}");
    let output = Command::new("shellcheck")
        .args(["-x", "-P", "SCRIPTDIR"])
        .args(&scripts)
        .current_dir(root.join("deploy"))
        .output();
    let output = output.unwrap_or_else(|e| panic!("shellcheck: {e}; `tests/run tools` installs it"));
    assert!(output.status.success(), "{}", said(&output));
}
