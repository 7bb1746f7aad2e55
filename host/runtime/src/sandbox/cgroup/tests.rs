//! Against folders that look like the kernel's, for what this machine may not offer; `tests/suite` has real ones.

use agent_host_core::isolation::Enforcement;
use tempfile::TempDir;

use super::*;

const ONE: &str = "\
30 20 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 20 0:27 / AT/pids rw,relatime shared:9 - cgroup cgroup rw,pids
";

fn machine() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("pids")).unwrap();
    root
}

fn at(text: &str, root: &TempDir) -> String {
    text.replace("AT", &root.path().display().to_string())
}

/// A cgroup2 hierarchy with these controllers on offer and on.
fn two(root: &TempDir, offered: &str, on: &str) -> String {
    fs::write(root.path().join("cgroup.controllers"), offered).unwrap();
    fs::write(root.path().join("cgroup.subtree_control"), on).unwrap();
    at("40 20 0:30 / AT rw - cgroup2 cgroup2 rw\n", root)
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn version_one_is_used_for_the_controllers_that_are_the_hosts_to_divide() {
    let root = machine();
    let own = "4:memory:/somebody/elses\n8:pids:/\n0::/\n";
    let groups = Groups::find(&at(ONE, &root), own, "agent-host-1-2-");
    let (group, state) = groups.enclose("billing-7", 4711, Bounds::of(1 << 30, 640, 0));
    assert_eq!(state.state, Enforcement::Partial);
    assert!(
        state.reason.starts_with("without memory: the host's group /somebody/elses is not its own"),
        "{state:?}"
    );
    let made = root.path().join("pids/agent-host-1-2-billing-7");
    assert_eq!((read(made.join("pids.max")), read(made.join("cgroup.procs"))), ("648".into(), "4711".into()));
    assert!(!group.unwrap().ran_out_of_memory());
}

#[test]
fn version_two_serves_both_controllers_with_one_group() {
    let root = machine();
    let mounts = two(&root, "cpu memory pids\n", "memory pids\n");
    let groups = Groups::find(&mounts, "0::/\n", "agent-host-1-2-");
    let (group, state) = groups.enclose("billing-7", 4711, Bounds::of(1 << 30, 640, 0));
    assert_eq!(state, LayerState::enforced());
    let made = root.path().join("agent-host-1-2-billing-7");
    assert_eq!(read(made.join("memory.max")), ((1_u64 << 30) + OVERHEAD).to_string());
    assert_eq!(read(made.join("memory.swap.max")), "0");
    let group = group.unwrap();
    fs::write(made.join("memory.events"), "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n").unwrap();
    assert!(group.ran_out_of_memory());
    fs::write(made.join("memory.events"), "oom 1\noom_kill 0\n").unwrap();
    assert!(!group.ran_out_of_memory());
}

#[test]
fn cpu_is_bounded_where_it_is_asked_for() {
    let root = machine();
    let mounts = two(&root, "cpu pids\n", "cpu pids\n");
    let groups = Groups::find(&mounts, "0::/\n", "agent-host-1-2-");
    let (_group, state) = groups.enclose("billing-7", 4711, Bounds::of(0, 640, 150));
    assert_eq!(state, LayerState::enforced());
    assert_eq!(read(root.path().join("agent-host-1-2-billing-7/cpu.max")), "150000 100000");
}

#[test]
fn memory_that_is_not_bounded_wants_no_group() {
    let root = machine();
    let mounts = two(&root, "pids\n", "pids\n");
    let groups = Groups::find(&mounts, "0::/\n", "agent-host-1-2-");
    let (_group, state) = groups.enclose("billing-7", 4711, Bounds::of(0, 640, 0));
    assert_eq!(state, LayerState::enforced(), "memory is not offered, and not wanted");
}

#[test]
fn each_reason_says_what_is_in_the_way() {
    let root = machine();
    let mounts = two(&root, "cpu\n", "");
    for (mounts, own, reason) in [
        ("", "", "this kernel has no control groups"),
        ("", "0::/\n", "cgroup2 is not mounted"),
        ("", "3:pids:/\n", "its hierarchy is not mounted"),
        (mounts.as_str(), "0::/\n", "the host's group does not offer it"),
    ] {
        let groups = Groups::find(mounts, own, "x-");
        let (group, state) = groups.enclose("billing-7", 4711, Bounds::of(0, 640, 0));
        assert!(group.is_none());
        assert_eq!((state.state, state.reason), (Enforcement::Unavailable, format!("pids: {reason}")));
    }
}

#[test]
fn in_a_container_the_path_begins_where_the_mount_does() {
    let mounts = "30 20 0:26 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    let is_it = |kind: &str, _: &str| kind == "cgroup";
    assert_eq!(mounted(mounts, is_it, "/docker/abc").unwrap(), Path::new("/sys/fs/cgroup/pids"));
    assert_eq!(mounted(mounts, is_it, "/docker/abc/sub").unwrap(), Path::new("/sys/fs/cgroup/pids/sub"));
}

#[test]
fn only_groups_of_hosts_that_are_gone_are_left_over() {
    let begun = |pid| (pid == 7).then_some(100);
    for (name, left) in [
        ("agent-host-7-100-billing-1", false),
        ("agent-host-7-99-billing-1", true),
        ("agent-host-8-100-billing-1", true),
        ("agent-host-8-100", false),
        ("agent-host-x-100-billing-1", false),
        ("somebody-8-100-billing", false),
    ] {
        assert_eq!(is_left_over(name, begun), left, "{name}");
    }
    assert_eq!(self::begun(std::process::id()), self::begun(std::process::id()));
    assert!(self::begun(std::process::id()).is_some());
}
