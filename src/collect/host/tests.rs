use super::*;
use crate::model::SeriesKey;

fn traffic(sent: u64, received: u64) -> Traffic {
    Traffic { sent, received }
}

#[test]
fn ids_come_from_what_there_is() {
    let id = |text: &str| id_from(Some(text)).map(|id| id.to_string());
    assert_eq!(id(" host\u{7}\n").as_deref(), Some("host"));
    assert_eq!(id(&"ä".repeat(100)).map(|id| id.len()), Some(128));
    assert_eq!(id(".."), None);
    assert_eq!(id(""), None);
    assert_eq!(host_id(Some("set")).unwrap().as_str(), "set");
    assert!(host_id(None).is_some());
}

#[test]
fn traffic_never_falls() {
    let mut totals = TrafficTotals::default();
    let mut add = |interfaces: &[(&str, Traffic)]| {
        totals.add(interfaces.iter().map(|(n, t)| ((*n).to_owned(), *t)))
    };
    let (lo, eth) = (("lo", traffic(9_999, 9_999)), ("eth0", traffic(100, 200)));
    assert_eq!(add(&[lo, eth]), traffic(100, 200));
    // A container's interface comes,
    let eth = ("eth0", traffic(110, 220));
    assert_eq!(add(&[lo, eth, ("veth1", traffic(5, 6))]), traffic(115, 226));
    // goes,
    assert_eq!(add(&[eth]), traffic(115, 226));
    // and the other one starts again from zero.
    assert_eq!(add(&[("eth0", traffic(1, 2))]), traffic(116, 228));
}

#[test]
fn a_device_counts_once_under_its_shortest_path() {
    let disk = |device: &str, mount: &str, total| Disk {
        device: device.to_owned(),
        mount: mount.to_owned(),
        total,
        available: 1,
    };
    let disks = distinct(vec![
        disk("sda", "/etc/hosts", 10),
        disk("sda", "/", 10),
        disk("none", "/proc", 0),
        disk("sdb", "/var", 10),
    ]);
    let mounts: Vec<&str> = disks.iter().map(|d| d.mount.as_str()).collect();
    assert_eq!(mounts, ["/", "/var"]);
}

#[test]
fn the_document_s_four_metrics_have_its_names_and_labels() {
    let sample = HostSample {
        cpu_percent: 150.0,
        memory: (1, 4),
        swap: (0, 0),
        load: Some([1.0, 2.0, 3.0]),
        network: traffic(7, 8),
        disks: vec![Disk {
            device: "sda".to_owned(),
            mount: "/".to_owned(),
            total: 8,
            available: 2,
        }],
    };
    let batch = sample.into_batch(Timestamp::from_millis(3));
    let rows: Vec<_> = batch
        .rows()
        .iter()
        .map(|row| {
            let key = SeriesKey::from_bytes(batch.key(row)).unwrap();
            (key.to_string(), row.value)
        })
        .collect();
    let expected = [
        (r#"system_cpu_usage{unit="percent"}"#, 100.0),
        (r#"system_memory_usage{unit="percent"}"#, 25.0),
        ("system_load1", 1.0),
        ("system_load5", 2.0),
        ("system_load15", 3.0),
        (r#"network_bytes_sent{direction="sent"}"#, 7.0),
        (r#"network_bytes_recv{direction="received"}"#, 8.0),
        (r#"disk_usage_percent{mount="/"}"#, 75.0),
        (r#"disk_available_bytes{mount="/"}"#, 2.0),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    assert_eq!(rows, expected);
    let kind = |name| batch.metadata.iter().find(|m| m.name == name).unwrap().kind;
    assert_eq!(kind("system_cpu_usage"), MetricKind::Gauge);
    assert_eq!(kind("network_bytes_sent"), MetricKind::Counter);
}

#[test]
fn this_host_can_be_looked_at() {
    let mut sampler = HostSampler::new().unwrap();
    let scraped = sampler.sample(Timestamp::from_millis(5)).unwrap();
    let memory = SeriesKey::new("system_memory_usage", &[("unit", "percent")]).unwrap();
    let batch = &scraped.batch;
    let row = batch
        .rows()
        .iter()
        .find(|row| batch.key(row) == memory.as_bytes())
        .unwrap();
    assert!(row.value > 0.0 && row.value < 100.0);
}
