//! Metrics for Prometheus in its text format 0.0.4: one page for the site and the collector, one
//! page for each host and device. A page is built from one look at the site and encoded by the `prometheus`
//! crate; nothing is registered, so nothing of a host that is gone lingers.

pub mod device;
pub mod host;
pub mod site;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bailey_rules::check::device::line;
use bailey_rules::device::interface::Interface;
use bailey_rules::name::HostName;
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::web::Web;
use crate::web::problem::Problem;
use crate::web::shown::Shown;

/// The most subjects (mount points, interfaces, devices) of one metric of one host. The rest is
/// left out, and `bailey_series_left_out` says how many series that are.
pub const MAX_SUBJECTS: usize = 256;

/// The most series of one host's page.
pub const MAX_SERIES: usize = 2_000;

/// One metric as it is declared: the name never changes its meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: MetricType,
    /// Label names besides those of the page.
    pub(crate) labels: &'static [&'static str],
}

pub(crate) const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Declared {
    Declared { name, help, kind: MetricType::GAUGE, labels }
}

pub(crate) const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Declared {
    Declared { name, help, kind: MetricType::COUNTER, labels }
}

pub(crate) const fn histogram(name: &'static str, help: &'static str) -> Declared {
    Declared { name, help, kind: MetricType::HISTOGRAM, labels: &[] }
}

/// The metrics of one page in the making.
pub(crate) struct Families {
    common: Vec<(&'static str, String)>,
    list: Vec<MetricFamily>,
    series: usize,
    most: usize,
    left_out: u64,
}

impl Families {
    /// A page whose series all carry `common`; at most `most` series.
    pub(crate) fn new(common: Vec<(&'static str, String)>, most: usize) -> Self {
        Self { common, list: Vec::new(), series: 0, most, left_out: 0 }
    }

    /// Adds one series of `metric`. `labels` are the values of its labels, in their order.
    pub(crate) fn add(&mut self, metric: &Declared, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let mut series = Metric::from_label(self.labels(metric, labels));
        if metric.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            series.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            series.set_gauge(gauge);
        }
        self.push(metric, series);
    }

    /// Adds one of two states.
    pub(crate) fn add_flag(&mut self, metric: &Declared, labels: &[&str], on: bool) {
        self.add(metric, labels, if on { 1.0 } else { 0.0 });
    }

    /// Adds a histogram: for each bucket its upper bound and the cumulative count.
    pub(crate) fn add_histogram(
        &mut self,
        metric: &Declared,
        buckets: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        let mut histogram = Histogram::default();
        let buckets = buckets.iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut series = Metric::from_label(self.labels(metric, &[]));
        series.set_histogram(histogram);
        self.push(metric, series);
    }

    /// Notes series that a bound kept out before they were made.
    pub(crate) fn leave_out(&mut self, series: usize) {
        self.left_out += series as u64;
    }

    /// How many series the bounds kept out.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn labels(&self, metric: &Declared, values: &[&str]) -> Vec<LabelPair> {
        let common = self.common.iter().map(|(name, value)| (*name, value.as_str()));
        common
            .chain(metric.labels.iter().copied().zip(values.iter().copied()))
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(name.to_owned());
                pair.set_value(value.to_owned());
                pair
            })
            .collect()
    }

    fn push(&mut self, metric: &Declared, series: Metric) {
        if self.series >= self.most {
            self.left_out += 1;
            return;
        }
        self.series += 1;
        let same = self.list.iter_mut().rev().find(|family| family.name() == metric.name);
        if let Some(family) = same {
            family.mut_metric().push(series);
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(metric.kind);
        family.set_metric(vec![series]);
        self.list.push(family);
    }

    /// The page in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric is declared wrong, which a test of each page excludes.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.list)
    }
}

pub(crate) async fn site_page(State(web): State<Web>) -> Response {
    let page = site::families(&Shown::of(&web), web.site().counters(), &web.refusals());
    answer(&page)
}

pub(crate) async fn host_page(State(web): State<Web>, Path(name): Path<String>) -> Response {
    let host = name.parse::<HostName>().ok().and_then(|name| web.site().host(&name));
    let Some(host) = host else {
        return Problem::not_found("no host of this name is enrolled").into_response();
    };
    let findings = web.site().findings();
    let of_host = findings.iter().filter(|finding| finding.host == host.view.key);
    answer(&host::families(&host, of_host, web.site().now()))
}

pub(crate) async fn device_page(State(web): State<Web>, Path(name): Path<String>) -> Response {
    let device = name.parse::<HostName>().ok().and_then(|name| web.site().device(&name));
    let Some(device) = device else {
        return Problem::not_found("there is no device of this name").into_response();
    };
    let findings = web.site().findings();
    let of_device = findings.iter().filter(|finding| finding.host == device.view.key);
    let wanted = web.site().rule_files().for_host(&device.view.name, &device.view.zone).device;
    let rated = |interface: &Interface| line(&wanted, interface).map(|line| line.rated.0 / 8);
    answer(&device::families(&device, of_device, rated, web.site().now()))
}

fn answer(page: &Families) -> Response {
    match page.text() {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            );
            response
        }
        Err(e) => Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "metrics",
            format!("the metrics cannot be written: {e}"),
        )
        .into_response(),
    }
}
