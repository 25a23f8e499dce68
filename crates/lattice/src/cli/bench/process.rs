//! The process behind a local URL and its CPU time, read from Linux' `/proc`; nothing is known elsewhere.

use std::{
    fs,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::Path,
    time::Duration,
};

/// Length of a tick in `/proc/PID/stat`: USER_HZ is 100 on every Linux of today.
const TICK: Duration = Duration::from_millis(10);
/// Bytes of a page of memory on the processors that nodes run on.
const PAGE_BYTES: u64 = 4_096;
/// State LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process that listens at `host:port` of this machine.
pub fn listener(host: &str, port: u16) -> Option<u32> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_local = (host, port).to_socket_addrs().ok()?.map(|addr: SocketAddr| addr.ip()).all(|ip| ip.is_loopback());
    is_local.then_some(())?;
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, port))?;
    owner_of_socket(&inode)
}

/// The inode of the socket that listens on a port, in a table of `/proc/net`.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let listens = u16::from_str_radix(local_port, 16) == Ok(port) && *fields.get(3)? == LISTEN;
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn owner_of_socket(inode: &str) -> Option<u32> {
    let link = format!("socket:[{inode}]");
    let holds = |pid: &u32| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == Path::new(&link)))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(holds)
}

/// CPU time, user and system, that a process has used so far.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|ticks| TICK * ticks)
}

/// CPU time that this thread has used so far.
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Memory of this process that lies in RAM, bytes; none where there is no `/proc`.
pub fn resident_bytes() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

/// Fields 14 and 15 of proc(5)'s stat. The name before them stands in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

/// The machine's load average over the last minute.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Host and port of an http URL.
pub fn host_and_port(url: &str) -> Option<(String, u16)> {
    let uri: ureq::http::Uri = url.parse().ok()?;
    let host = uri.host()?.to_owned();
    // The loopback network has one address family a name; a bare name resolves as the client resolves it.
    let host = host.parse::<IpAddr>().map_or(host, |ip| ip.to_string());
    Some((host, uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ticks_are_read_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 123 45 0 0 20 0 1 0 9 1 1";
        assert_eq!(ticks(stat), Some(168));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn sockets_are_found_by_port_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:2161 0100007F:9000 01 00000000:00000000 00:00000000 00000000  1000  0 11 1\n\
             1: 0100007F:2161 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 4242 1\n";
        assert_eq!(listening_inode(table, 0x2161).as_deref(), Some("4242"));
        assert_eq!(listening_inode(table, 0x2162), None);
    }

    #[test]
    fn urls_give_host_and_port() {
        assert_eq!(host_and_port("http://127.0.0.1:8545/"), Some(("127.0.0.1".into(), 8545)));
        assert_eq!(host_and_port("http://localhost"), Some(("localhost".into(), 80)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_listener_of_this_test_is_this_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener("127.0.0.1", port), Some(std::process::id()));
        assert!(cpu_time(std::process::id()).is_some() && resident_bytes() > Some(1 << 20));
        assert_eq!(listener("192.0.2.1", port), None);
    }
}
