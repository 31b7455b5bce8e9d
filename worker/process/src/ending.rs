//! How an end by a signal is told.

/// `killed by SIGSEGV (11)`.
pub fn killed_by(signal: i32) -> String {
    let name = SIGNALS
        .iter()
        .find(|(number, _)| *number == signal)
        .map_or("a signal", |(_, name)| name);
    let hint = if signal == 9 {
        "; possibly by the kernel for want of memory (see: dmesg)"
    } else {
        ""
    };
    format!("killed by {name} ({signal}){hint}")
}

/// Linux's numbers, the same on all architectures that petctl is built for.
const SIGNALS: [(i32, &str); 17] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
];
