//! This host as an agent: cpu, memory, network, load, swap, disks.

use std::collections::{HashMap, HashSet};

use sysinfo::{Disks, Networks, System};

use super::{Settings, builtin::Sampler, session::Scraped};
use crate::model::{AgentId, Batch, MetricKind, MetricMetadata, OWN_ID, Timestamp, names};

/// Longest agent id, in bytes.
const ID_BYTES_MAX: usize = 128;

/// The id of this host as an agent, if it is one.
pub fn host_agent_id(settings: &Settings) -> Option<AgentId> {
    host_name(settings).filter(|id| settings.host_enabled && id.as_str() != OWN_ID)
}

/// What this host is called, whether it is an agent or not.
pub fn host_name(settings: &Settings) -> Option<AgentId> {
    host_id(settings.host_agent_id.as_deref())
}

/// The id of this host: what is set, else the hostname, as far as they are ids.
fn host_id(set: Option<&str>) -> Option<AgentId> {
    let hostname = System::host_name().ok();
    id_from(set)
        .or_else(|| id_from(hostname.as_deref()))
        .or_else(|| id_from(Some("localhost")))
}

fn id_from(text: Option<&str>) -> Option<AgentId> {
    let clean: String = text?.chars().filter(|c| !c.is_control()).collect();
    let whole = clean.trim();
    let cut = (0..=whole.len().min(ID_BYTES_MAX))
        .rev()
        .find(|at| whole.is_char_boundary(*at))?;
    AgentId::new(whole[..cut].trim_end()).ok()
}

/// What is told about the host when it is registered.
pub(super) fn host_info() -> serde_json::Value {
    serde_json::json!({
        "os": System::long_os_version().ok(),
        "kernel": System::kernel_version().ok(),
        "arch": System::cpu_arch(),
        "longwatch": env!("CARGO_PKG_VERSION"),
    })
}

/// One mounted disk.
#[derive(Debug)]
struct Disk {
    device: String,
    mount: String,
    total: u64,
    available: u64,
}

/// What one look at the host found.
#[derive(Debug, Default)]
struct HostSample {
    cpu_percent: f64,
    memory: (u64, u64),
    swap: (u64, u64),
    load: Option<[f64; 3]>,
    network: Traffic,
    disks: Vec<Disk>,
}

/// Looks at the host.
#[derive(Debug)]
pub(super) struct HostSampler {
    system: System,
    networks: Networks,
    disks: Disks,
    traffic: TrafficTotals,
}

impl HostSampler {
    /// Takes the first look, from which the cpu's usage counts.
    ///
    /// # Errors
    /// What the operating system refuses to tell.
    pub(super) fn new() -> Result<Self, String> {
        let mut system = System::new().map_err(|e| e.to_string())?;
        system.refresh_cpu_usage();
        Ok(Self {
            system,
            networks: Networks::new().map_err(|e| e.to_string())?,
            disks: Disks::new().map_err(|e| e.to_string())?,
            traffic: TrafficTotals::default(),
        })
    }

    fn look(&mut self) -> HostSample {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.networks.refresh(true);
        self.disks.refresh(true);
        let interfaces = self.networks.iter().map(|(name, data)| {
            let traffic = Traffic {
                sent: data.total_transmitted(),
                received: data.total_received(),
            };
            (name.to_string_lossy().into_owned(), traffic)
        });
        let network = self.traffic.add(interfaces);
        let system = &self.system;
        HostSample {
            cpu_percent: f64::from(system.global_cpu_usage()),
            memory: (system.used_memory(), system.total_memory()),
            swap: (system.used_swap(), system.total_swap()),
            load: System::load_average()
                .ok()
                .map(|load| [load.one, load.five, load.fifteen]),
            network,
            disks: self
                .disks
                .iter()
                .map(|disk| Disk {
                    device: disk.name().to_string_lossy().into_owned(),
                    mount: disk.mount_point().to_string_lossy().into_owned(),
                    total: disk.total_space(),
                    available: disk.available_space(),
                })
                .collect(),
        }
    }
}

impl Sampler for HostSampler {
    fn sample(&mut self, at: Timestamp) -> Result<Scraped, String> {
        let batch = self.look().into_batch(at);
        let total = batch.len();
        Ok(Scraped { batch, total })
    }
}

/// Bytes over the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    sent: u64,
    received: u64,
}

/// Traffic of all interfaces but loopback, as counters that never fall: when an interface goes (those
/// of containers come and go), what it carried stays counted.
#[derive(Debug, Default)]
struct TrafficTotals {
    total: Traffic,
    last: HashMap<String, Traffic>,
}

impl TrafficTotals {
    fn add(&mut self, interfaces: impl Iterator<Item = (String, Traffic)>) -> Traffic {
        let mut present = HashMap::new();
        for (name, now) in interfaces.filter(|(name, _)| !is_loopback(name)) {
            let before = self.last.get(&name).copied().unwrap_or_default();
            // Below its predecessor a counter began again from zero.
            let grown = |now: u64, before: u64| if now < before { now } else { now - before };
            self.total.sent += grown(now.sent, before.sent);
            self.total.received += grown(now.received, before.received);
            present.insert(name, now);
        }
        self.last = present;
        self.total
    }
}

/// `lo` of Linux, `lo0` of the BSDs, the long names of Windows.
fn is_loopback(interface: &str) -> bool {
    let after = interface.strip_prefix("lo");
    after.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
        || interface.starts_with("Loopback")
}

/// Percent that `part` is of `whole`; `None` when there is no whole.
pub(super) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 100.0).clamp(0.0, 100.0))
}

/// Rows and metadata of what is sampled on this machine.
pub(super) struct Rows {
    pub batch: Batch,
    at: Timestamp,
}

impl Rows {
    pub(super) const fn new(at: Timestamp) -> Self {
        Self {
            batch: Batch::new(),
            at,
        }
    }

    /// Adds a sample; NaN and infinities, which only a broken counter gives, are left out.
    pub(super) fn put(
        &mut self,
        name: &str,
        label: Option<(&str, &str)>,
        kind: MetricKind,
        help: &str,
        value: f64,
    ) {
        let mut labels: Vec<_> = label.into_iter().collect();
        if !value.is_finite() || self.batch.push(name, &mut labels, self.at, value).is_err() {
            return;
        }
        if self.batch.metadata.last().is_none_or(|m| m.name != name) {
            self.batch.metadata.push(MetricMetadata {
                name: name.to_owned(),
                kind,
                help: help.to_owned(),
                unit: String::new(),
            });
        }
    }

    /// Adds a percentage as a gauge with `unit="percent"`, if there is one.
    pub(super) fn put_percent(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            let label = Some(("unit", "percent"));
            self.put(name, label, MetricKind::Gauge, help, value);
        }
    }
}

impl HostSample {
    fn into_batch(self, at: Timestamp) -> Batch {
        use MetricKind::{Counter, Gauge};
        let mut rows = Rows::new(at);
        let cpu = self.cpu_percent.clamp(0.0, 100.0);
        let memory = percent(self.memory.0, self.memory.1);
        let swap = percent(self.swap.0, self.swap.1);
        rows.put_percent(names::SYSTEM_CPU_USAGE, "Usage of all cpus", Some(cpu));
        rows.put_percent(names::SYSTEM_MEMORY_USAGE, "Memory in use", memory);
        rows.put_percent("system_swap_usage", "Swap space in use", swap);
        let loads = ["system_load1", "system_load5", "system_load15"];
        for (name, value) in loads.into_iter().zip(self.load.into_iter().flatten()) {
            rows.put(name, None, Gauge, "Load average", value);
        }
        for (name, direction, bytes) in [
            (names::NETWORK_BYTES_SENT, "sent", self.network.sent),
            (names::NETWORK_BYTES_RECV, "received", self.network.received),
        ] {
            let label = Some(("direction", direction));
            let help = "Bytes over all interfaces but loopback";
            rows.put(name, label, Counter, help, bytes as f64);
        }
        let disks = distinct(self.disks);
        for disk in &disks {
            let used = disk.total.saturating_sub(disk.available);
            if let Some(usage) = percent(used, disk.total) {
                let (label, help) = (Some(("mount", disk.mount.as_str())), "Disk space in use");
                rows.put("disk_usage_percent", label, Gauge, help, usage);
            }
        }
        for disk in &disks {
            let (label, help) = (Some(("mount", disk.mount.as_str())), "Disk space available");
            let bytes = disk.available as f64;
            rows.put("disk_available_bytes", label, Gauge, help, bytes);
        }
        rows.batch
    }
}

/// Disks that have a size, each device once, under its shortest path: containers mount single files
/// of one device many times.
fn distinct(mut disks: Vec<Disk>) -> Vec<Disk> {
    disks.retain(|disk| disk.total > 0 && !disk.mount.is_empty());
    disks.sort_by(|a, b| (a.mount.len(), &a.mount).cmp(&(b.mount.len(), &b.mount)));
    let (mut devices, mut mounts) = (HashSet::new(), HashSet::new());
    disks.retain(|disk| {
        // Not every file system has a device of its own; those with equal sizes are still told apart.
        let device = (disk.device.clone(), disk.total, disk.available);
        devices.insert(device) && mounts.insert(disk.mount.clone())
    });
    disks
}

#[cfg(test)]
mod tests;
