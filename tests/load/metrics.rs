//! The metrics of a run: latencies, and the resources that the server has spent.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::engine::{Failure, Wire};
use super::process::{Counters, Measured, Size, Switches, own_cpu};

/// The longest latency that is counted. It is longer than any idle timeout.
const LONGEST: Duration = Duration::from_secs(600);
/// The significant digits of a latency. Two runs differ by more than 0.1 %.
const DIGITS: u8 = 3;

/// A number of a report.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    /// Its name in JSON, with the unit.
    pub(crate) key: &'static str,
    /// Its column title in the table, which must be short. Empty if only JSON has it.
    pub(crate) title: &'static str,
    /// `None` if the server's process cannot be read.
    pub(crate) value: Option<f64>,
}

/// Makes a metric with a value.
pub(crate) fn known(key: &'static str, title: &'static str, value: f64) -> Metric {
    figure(key, title, Some(value))
}

/// Makes a metric that may have no value.
pub(crate) fn figure(key: &'static str, title: &'static str, value: Option<f64>) -> Metric {
    Metric { key, title, value }
}

/// A histogram of latencies.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let longest = LONGEST.as_nanos() as u64;
        let histogram = Histogram::new_with_bounds(1, longest, DIGITS);
        Latencies(histogram.expect("valid bounds"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// Returns the median in microseconds.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    pub(crate) fn figures(&self) -> [Metric; 4] {
        [
            known("latency_p50_us", "p50 µs", self.median()),
            known("latency_p99_us", "p99 µs", self.quantile(0.99)),
            known("latency_p999_us", "p99.9 µs", self.quantile(0.999)),
            known("latency_max_us", "max µs", self.0.max() as f64 / 1e3),
        ]
    }
}

/// The counters at the beginning of a measurement.
pub(crate) struct Meter<'a> {
    process: Option<&'a Measured>,
    switches: Option<Switches>,
    cpu: Option<Duration>,
    counters: Counters,
    own_cpu: Duration,
    messages: u64,
    began: Instant,
}

/// The time and the resources of a measurement.
pub(crate) struct Spent {
    pub(crate) time: Duration,
    /// The CPU time of the server.
    pub(crate) cpu: Option<Duration>,
    pub(crate) own_cpu: Duration,
    pub(crate) switches: Option<Switches>,
    /// The growth of the further counters.
    pub(crate) counters: Counters,
    /// The messages of the server, responses included.
    pub(crate) messages: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(process: Option<&'a Measured>, wire: &Wire) -> io::Result<Meter<'a>> {
        Ok(Meter {
            process,
            switches: process.map(Measured::switches).transpose()?,
            messages: wire.messages(),
            counters: counters(process)?,
            own_cpu: own_cpu()?,
            cpu: process.map(Measured::cpu).transpose()?,
            began: Instant::now(),
        })
    }

    pub(crate) fn stop(self, wire: &Wire) -> io::Result<Spent> {
        let time = self.began.elapsed();
        let cpu = self.process.map(Measured::cpu).transpose()?;
        let own_cpu = own_cpu()?;
        let mut counters = counters(self.process)?;
        for ((_, now), (_, then)) in counters.iter_mut().zip(&self.counters) {
            *now -= then;
        }
        let switches = self.process.map(Measured::switches).transpose()?;
        Ok(Spent {
            time,
            cpu: cpu.zip(self.cpu).map(|(now, then)| now - then),
            own_cpu: own_cpu - self.own_cpu,
            switches: switches.zip(self.switches).map(|(now, then)| Switches {
                voluntary: now.voluntary.saturating_sub(then.voluntary),
                involuntary: now.involuntary.saturating_sub(then.involuntary),
            }),
            counters,
            messages: wire.messages() - self.messages,
        })
    }
}

/// Reads the further counters, if there are any.
fn counters(process: Option<&Measured>) -> io::Result<Counters> {
    process.map_or_else(|| Ok(Counters::new()), Measured::counters)
}

impl Spent {
    /// Returns the growth of each further counter, divided by this count.
    pub(crate) fn counters_per(&self, count: f64) -> impl Iterator<Item = Metric> {
        let counters = self.counters.iter();
        counters.map(move |&(key, growth)| known(key, "", growth / count))
    }
}

/// Reads the size of the server's process, if it can be read.
pub(crate) fn size(process: Option<&Measured>) -> Result<Option<Size>, Failure> {
    Ok(process.map(Measured::size).transpose()?)
}

/// Returns memory and threads per client: the growth divided by the number of clients.
pub(crate) fn per_client(empty: Option<Size>, full: Option<Size>, clients: usize) -> [Metric; 2] {
    let added = |part: fn(Size) -> u64| {
        let (empty, full) = (part(empty?) as f64, part(full?) as f64);
        Some((full - empty) / clients as f64)
    };
    [
        figure("rss_per_client_kib", "RSS KiB", added(|it| it.rss_kib)),
        figure("threads_per_client", "threads", added(|it| it.threads)),
    ]
}

/// Returns the metrics of a case with deliveries.
pub(crate) fn traffic(deliveries: u64, latencies: &Latencies, spent: &Spent) -> Vec<Metric> {
    let seconds = spent.time.as_secs_f64();
    let cpu = spent.cpu.map(|cpu| cpu.as_secs_f64() * 1e6);
    let per_delivery = |total: f64| total / deliveries as f64;
    let switches =
        |part: fn(Switches) -> u64| spent.switches.map(|it| per_delivery(part(it) as f64));
    let mut figures = vec![
        known("deliveries", "", deliveries as f64),
        known(
            "deliveries_per_s",
            "deliveries/s",
            deliveries as f64 / seconds,
        ),
    ];
    figures.extend(latencies.figures());
    figures.extend([
        figure("cpu_per_delivery_us", "CPU µs", cpu.map(per_delivery)),
        figure(
            "cpu_per_frame_us",
            "per frame",
            cpu.map(|cpu| cpu / spent.messages as f64),
        ),
        known("frames_per_s", "", spent.messages as f64 / seconds),
        figure(
            "voluntary_switches_per_delivery",
            "waits",
            switches(|it| it.voluntary),
        ),
        figure(
            "involuntary_switches_per_delivery",
            "preempted",
            switches(|it| it.involuntary),
        ),
        known(
            "generator_cpu_per_delivery_us",
            "",
            per_delivery(spent.own_cpu.as_secs_f64() * 1e6),
        ),
    ]);
    figures.extend(spent.counters_per(deliveries as f64));
    figures
}
