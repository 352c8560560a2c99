//! What must be done now and then: certificates renewed before they end, old rows taken away, the
//! store measured, and tried again when it could not be written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bailey_rules::time::Timestamp;
use bailey_wire::tls;
use rusqlite::Transaction;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ca::{self, COLLECTOR_LIFE, Ca, CaError, Leaf, Names, WEB_RENEWED_BEFORE};
use crate::clock::CertificateTime;
use crate::enrolment;
use crate::journal::{RETENTION_STEP, retain};
use crate::lines;
use crate::proving::record;
use crate::settings::WebCertificate;
use crate::site::{Part, Site};
use crate::store::{RUNNING_AT, StoreError, VERSION, write_meta};
use crate::trap::kept;

/// How often the store is measured, and tried again while it cannot be written.
const MEASURED: Duration = Duration::from_secs(5);

/// How often old rows are taken away.
const RETAINED: Duration = Duration::from_hours(1);

/// How often certificates are looked at.
const LOOKED_AT: Duration = Duration::from_mins(1);

/// Between two steps of taking away, so that reports need not wait.
const STEP_PAUSE: Duration = Duration::from_millis(100);

/// The TLS side of both listeners.
pub(crate) struct Certificates {
    ca: Arc<Ca>,
    names: Names,
    folder: PathBuf,
    from_elsewhere: Option<WebCertificate>,
    /// What agents are shown.
    pub(crate) agents: Arc<ArcSwap<ServerConfig>>,
    agents_end: Timestamp,
    /// What browsers are shown.
    pub(crate) web: Arc<ArcSwap<ServerConfig>>,
    web_chain: Vec<CertificateDer<'static>>,
    web_ends: Timestamp,
}

/// Why a listener has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The CA does not sign.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Certificate and key do not fit.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl Certificates {
    pub(crate) fn new(
        site: &Site,
        ca: Arc<Ca>,
        names: Names,
        folder: PathBuf,
        from_elsewhere: Option<WebCertificate>,
    ) -> Result<Self, CertificatesError> {
        let now = site.now();
        let (agents, agents_end) = agents_tls(site, &ca, &names)?;
        let leaf = web_leaf(&ca, &names, &folder, from_elsewhere.as_ref(), now)?;
        let (web_chain, web_ends) = (leaf.chain.clone(), leaf.not_after);
        let web = tls::web_server_config(leaf.chain, leaf.key)?;
        Ok(Self {
            ca,
            names,
            folder,
            from_elsewhere,
            agents: Arc::new(ArcSwap::new(agents)),
            agents_end,
            web: Arc::new(ArcSwap::new(web)),
            web_chain,
            web_ends,
        })
    }

    /// Renews until the collector stops.
    pub(crate) async fn run(mut self, site: Site, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOKED_AT) => {}
            }
            let problem = self.look(&site).err();
            if let Some(error) = &problem {
                warn!(%error, "a certificate could not be renewed");
            }
            site.set_problem(
                Part::Certificates,
                problem.map(|error| format!("a certificate of the collector is not new: {error}")),
            );
        }
    }

    fn look(&mut self, site: &Site) -> Result<(), CertificatesError> {
        let now = site.now();
        if self.agents_end <= now + COLLECTOR_LIFE / 2 {
            let (agents, ends) = agents_tls(site, &self.ca, &self.names)?;
            self.agents.store(agents);
            self.agents_end = ends;
            info!(%ends, "the certificate for agents was renewed");
        }
        if self.from_elsewhere.is_some() || self.web_ends <= now + WEB_RENEWED_BEFORE {
            let elsewhere = self.from_elsewhere.as_ref();
            let leaf = web_leaf(&self.ca, &self.names, &self.folder, elsewhere, now)?;
            if leaf.chain != self.web_chain {
                let (chain, ends) = (leaf.chain.clone(), leaf.not_after);
                self.web.store(tls::web_server_config(leaf.chain, leaf.key)?);
                self.web_chain = chain;
                self.web_ends = ends;
                info!(%ends, "the certificate of the page was renewed");
            }
        }
        Ok(())
    }
}

fn agents_tls(
    site: &Site,
    ca: &Ca,
    names: &Names,
) -> Result<(Arc<ServerConfig>, Timestamp), CertificatesError> {
    let leaf = ca.collector_leaf(names, site.now())?;
    let clock: tls::Clock = Arc::new(CertificateTime(Arc::clone(site.clock())));
    let config = tls::agent_server_config(ca.certificate(), leaf.chain, leaf.key, &clock)?;
    Ok((config, leaf.not_after))
}

fn web_leaf(
    ca: &Ca,
    names: &Names,
    folder: &std::path::Path,
    from_elsewhere: Option<&WebCertificate>,
    now: Timestamp,
) -> Result<Leaf, CaError> {
    let Some(files) = from_elsewhere else { return ca.web_leaf(folder, names, now) };
    let bad = |path: &PathBuf, why: String| CaError::Bad { path: path.clone(), why };
    let missing = || "there is no such file".to_owned();
    let chain = ca::read_open(&files.chain)?.ok_or_else(|| bad(&files.chain, missing()))?;
    let key = ca::read_secret(&files.key)?.ok_or_else(|| bad(&files.key, missing()))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| bad(&files.chain, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| bad(&files.key, error.to_string()))?;
    let first = chain.first().ok_or_else(|| bad(&files.chain, "it holds no certificate".into()))?;
    let not_after = ca::end_of(first).map_err(|why| bad(&files.chain, why))?;
    Ok(Leaf { chain, key, not_after })
}

/// Measures the store, and tries it again while it cannot be written.
pub(crate) async fn measure(site: Site, stop: CancellationToken) {
    loop {
        let store = site.store().clone();
        if let Ok((size, free)) = tokio::task::spawn_blocking(move || store.sizes()).await {
            site.counters().store_bytes.set(size);
            site.counters().store_free_bytes.set(free);
        }
        if site.store().problem().is_some() {
            // Whether it worked is seen from the problem being gone.
            let _ = note_running(&site).await;
            site.dirty().wake.notify_one();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(MEASURED) => {}
        }
    }
}

/// Writes down that this version runs.
pub(crate) async fn note_running(site: &Site) -> Result<(), StoreError> {
    let now = site.now();
    let job = move |store: &Transaction<'_>| {
        write_meta(store, VERSION, env!("CARGO_PKG_VERSION"))
            .and_then(|()| write_meta(store, RUNNING_AT, &now.to_string()))
            .map_err(StoreError::failed("note that this version runs"))
    };
    site.store().write("note that this version runs", job).await
}

/// Takes old rows away.
pub(crate) async fn tidy(site: Site, stop: CancellationToken) {
    loop {
        let now = site.now();
        let job = move |store: &Transaction<'_>| {
            let gone = retain(store, now)
                .and_then(|gone| enrolment::retain(store, now).map(|more| gone.max(more)))
                .and_then(|gone| record::retain(store, now).map(|more| gone.max(more)))
                .and_then(|gone| {
                    let more = kept::retain(store, now, RETENTION_STEP)?;
                    let samples = lines::kept::retain(store, now, RETENTION_STEP)?;
                    Ok(gone.max(more).max(samples))
                });
            gone.map_err(StoreError::failed("take old rows away"))
        };
        let gone = site.store().write("take old rows away", job).await;
        let wait = match gone {
            Ok(gone) if gone >= RETENTION_STEP => STEP_PAUSE,
            Ok(_) => RETAINED,
            Err(error) => {
                warn!(%error, "old rows are taken away later");
                RETAINED
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
