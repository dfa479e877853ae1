//! A child process that does not outlive the benchmark, and what it has cost so far.

use std::process::{Child, Command, Stdio};

/// Ticks of the processor clock in a second, which Linux fixes for programs.
const TICKS: f64 = 100.0;

/// Ends with this handle.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program whose standard input stays open as long as this handle lives.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).spawn().unwrap())
    }

    /// Processor time, of the program and of the kernel for it.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = self.read("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / TICKS
    }

    /// Memory that is in use, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.line("status", "VmRSS:") * 1024
    }

    /// The most memory that was in use so far, in bytes.
    pub(crate) fn resident_at_most(&self) -> u64 {
        self.line("status", "VmHWM:") * 1024
    }

    /// Bytes that were handed to the disk.
    pub(crate) fn written(&self) -> u64 {
        self.line("io", "write_bytes:")
    }

    /// SIGKILL: no last word.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    fn line(&self, file: &str, name: &str) -> u64 {
        let text = self.read(file);
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
