//! The filter of system calls: a worker is one process without programs, sockets, or a hand on others.
//!
//! What is not named is allowed, as any library may need it; so what matters is that no way around a name is left: other
//! calling conventions are refused, and calls whose arguments a filter cannot see are answered as if unknown.

use std::collections::BTreeMap;

use agent_host_core::isolation::LayerState;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as If,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters on this thread and all that it makes later.
pub(super) fn filter() -> LayerState {
    LayerState::of(install())
}

fn install() -> seccompiler::Result<()> {
    let own = u64::from(std::process::id());
    let programs = [
        compile(unknown(), libc::ENOSYS)?,
        compile(sockets()?, libc::EACCES)?,
        compile(refused(own)?, libc::EPERM)?,
    ];
    for program in &programs {
        apply_filter(program)?;
    }
    // Last: the crate's own filters judge numbers of this machine's first convention only.
    #[cfg(target_arch = "x86_64")]
    apply_filter(&other_convention())?;
    Ok(())
}

fn compile(rules: Rules, errno: i32) -> seccompiler::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()?)
}

/// Answered as by a kernel that does not have them, so that libraries take their other way.
fn unknown() -> Rules {
    let calls = [
        // Its flags lie in memory, where a filter cannot look: the C library falls back to `clone`.
        libc::SYS_clone3,
        // It would do what is refused elsewhere, past any filter.
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // Memory that the limit on the address space does not hold.
        libc::SYS_memfd_create,
        libc::SYS_memfd_secret,
    ];
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

/// No socket but connected pairs, which threads of a runtime wake each other by. A pair of datagram sockets could be
/// connected elsewhere later.
fn sockets() -> seccompiler::Result<Rules> {
    let family = If::new(0, Len::Dword, Op::Ne, libc::AF_UNIX.unsigned_abs().into())?;
    // The kind without its flags.
    let datagram = Op::MaskedEq(0xf);
    let kind = If::new(1, Len::Dword, datagram, libc::SOCK_DGRAM.unsigned_abs().into())?;
    let pair = vec![SeccompRule::new(vec![family])?, SeccompRule::new(vec![kind])?];
    Ok([(libc::SYS_socket, Vec::new()), (libc::SYS_socketpair, pair)].into())
}

/// Refused for what they could do to others, to the kernel, or to the worker's own bounds.
fn refused(own: u64) -> seccompiler::Result<Rules> {
    let mut rules: Rules = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    let others = |at| If::new(at, Len::Dword, Op::Ne, own);
    let not = |at, value| If::new(at, Len::Dword, Op::Ne, value);
    let is = |at, value: i32| If::new(at, Len::Dword, Op::Eq, value.unsigned_abs().into());
    // To anybody but itself.
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, vec![SeccompRule::new(vec![others(0)?])?]);
    }
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
    ] {
        rules.insert(call, vec![SeccompRule::new(vec![others(0)?, not(0, 0)?])?]);
    }
    // Another process or user, by the second argument; or by its kind: only process 0 is itself.
    for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
        let somebody = SeccompRule::new(vec![others(1)?, not(1, 0)?])?;
        // `PRIO_PROCESS` is 0, `IOPRIO_WHO_PROCESS` is 1; groups and users are above.
        let many =
            SeccompRule::new(vec![If::new(0, Len::Dword, Op::Gt, u64::from(call == libc::SYS_ioprio_set))?])?;
        rules.insert(call, vec![somebody, many]);
    }
    // A process instead of a thread.
    let process = Op::MaskedEq(libc::CLONE_THREAD.unsigned_abs().into());
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![If::new(0, Len::Qword, process, 0)?])?]);
    // Its tie to the host, its being hidden, and its memory map.
    let controls = [libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_MM];
    let controls = controls.into_iter().map(|it| SeccompRule::new(vec![is(0, it)?]));
    rules.insert(libc::SYS_prctl, controls.collect::<Result<_, _>>()?);
    // A larger buffer: memory that the limit on the address space does not hold.
    rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![is(1, libc::F_SETPIPE_SZ)?])?]);
    Ok(rules)
}

/// Refused whatever the arguments.
const ALWAYS: &[i64] = &[
    // Programs: what a worker runs is its library.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: their memory, descriptors, signals.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Wide doors into the kernel.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Memory and queues that outlive a process, and that no limit of it holds.
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// Refuses the second convention of this machine (x32), whose numbers are none of those above.
#[cfg(target_arch = "x86_64")]
fn other_convention() -> BpfProgram {
    use seccompiler::sock_filter;
    const X32: u32 = 0x4000_0000;
    let step =
        |code: u32, jt, jf, k| sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k };
    vec![
        // The number of the call is the first word of what a filter is given.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
