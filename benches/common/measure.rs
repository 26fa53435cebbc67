//! One command, measured: how long it took and what it cost. And many of one kind, summed up.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run of a command cost, its own child processes included.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User and system time.
    pub processor: Duration,
    /// The largest resident set of any one of the processes, in bytes (`ru_maxrss`). The kernel
    /// counts in what the process that started it had, so nothing below [`own_memory`] is told.
    pub memory: u64,
    /// Bytes that were handed to the file system to be written to disk (`ru_oublock`, which Linux
    /// takes from `write_bytes` of `/proc/PID/io`). A file that is removed before it reaches the
    /// disk counts all the same.
    pub written: u64,
    /// The part of all cores' time that went to others meanwhile, the kernel's own writing
    /// included: from 0 to 1.
    pub elsewhere: f64,
}

/// Runs a command that must succeed.
// It is waited for: by `wait`, past the standard library, which does not tell what a child has
// used.
#[allow(clippy::zombie_processes)]
pub fn cost(command: &mut Command) -> Cost {
    let mut errors = tempfile::tempfile().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone().unwrap());
    let busy_before = busy();
    let started = Instant::now();
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (status, usage) = wait(child.id());
    let wall = started.elapsed();
    let busy = busy().saturating_sub(busy_before);
    if status != 0 {
        let mut text = String::new();
        io::Seek::rewind(&mut errors).unwrap();
        io::Read::read_to_string(&mut errors, &mut text).unwrap();
        panic!("{command:?} ended with status {status:#x}: {text}");
    }
    let processor = processor(&usage);
    let capacity = wall.as_secs_f64() * cores() as f64;
    Cost {
        wall,
        processor,
        memory: usage.ru_maxrss.unsigned_abs() * 1024,
        written: usage.ru_oublock.unsigned_abs() * 512,
        elsewhere: (busy.saturating_sub(processor).as_secs_f64() / capacity).min(1.0),
    }
}

/// Waits for a child of ours; its status as `wait` has it, and what it and its own children used.
pub fn wait(pid: u32) -> (i32, libc::rusage) {
    let mut status = 0;
    // SAFETY: plain numbers, for which zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places live through the call; nobody else waits for this child.
    let waited = unsafe { libc::wait4(pid.cast_signed(), &raw mut status, 0, &raw mut usage) };
    assert!(waited > 0, "{}", io::Error::last_os_error());
    (status, usage)
}

/// User and system time.
pub fn processor(usage: &libc::rusage) -> Duration {
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs())
        + Duration::from_micros(time.tv_usec.unsigned_abs())
}

/// How many cores there are.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Time that all cores together were not idle, since the machine started.
pub fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; the guests' are in the first two already.
    let busy: u64 = ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(at, _)| ![3, 4].contains(at))
        .map(|(_, ticks)| ticks)
        .sum();
    Duration::from_millis(busy * 10)
}

/// The peak memory of this process so far, in bytes.
pub fn own_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Everything that was written before is on disk, so that nobody pays for what another one wrote.
pub fn settle() {
    rustix::fs::sync();
}

/// The middle of some values, their least and their greatest.
pub fn median(values: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    (median, values[0], values[values.len() - 1])
}
