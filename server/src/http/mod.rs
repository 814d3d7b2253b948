//! HTTP: the API and the metrics, on one address.

mod api;
mod guard;
mod metrics;

pub(crate) use metrics::text as metrics;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::record::{self, Refusal};
use crate::shared::Shared;

const INDEX: &str = "streamgauge\n\n\
    /api/v1/streams   who publishes what, and how many watch (JSON)\n\
    /api/v1/clients   every publisher and viewer with bytes and rates (JSON)\n\
    /api/v1/recordings   what is recorded, and where (JSON); POST .../start?path=PATH, .../stop?path=PATH\n\
    /metrics          the same for Prometheus\n\
    /healthz          ok while the server runs\n";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn router(shared: Arc<Shared>) -> Router {
    let text = |shared: Arc<Shared>| async move {
        ([(header::CONTENT_TYPE, OPENMETRICS)], metrics::text(&shared)).into_response()
    };
    let (for_streams, for_clients) = (Arc::clone(&shared), Arc::clone(&shared));
    let (for_recordings, to_start, to_stop) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared));
    Router::new()
        .route("/", get(async || INDEX))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(move || text(Arc::clone(&shared))))
        .route("/api/v1/streams", get(async move || axum::Json(api::streams(&for_streams))))
        .route("/api/v1/clients", get(async move || axum::Json(api::clients(&for_clients))))
        .route("/api/v1/recordings", get(async move || axum::Json(api::recordings(&for_recordings))))
        .route("/api/v1/recordings/start", post(async move |uri: Uri| start(&uri, &to_start)))
        .route("/api/v1/recordings/stop", post(async move |uri: Uri| stop(&uri, &to_stop)))
}

/// The path that a request names.
fn path(uri: &Uri) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, raw) = pairs.find(|(key, _)| *key == "path")?;
    // Within a query a slash may be escaped; within a path it may not.
    let raw = raw.replace("%2F", "/").replace("%2f", "/");
    session::rtmp::valid_path(&raw).ok()
}

const NO_PATH: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "want ?path=PATH\n");

fn start(uri: &Uri, shared: &Arc<Shared>) -> (StatusCode, &'static str) {
    let Some(path) = path(uri) else { return NO_PATH };
    match record::start(&path, shared) {
        Ok(()) => (StatusCode::OK, "recording\n"),
        Err(Refusal::Nowhere) => (StatusCode::CONFLICT, "the server has no directory for recordings\n"),
        Err(Refusal::NoStream) => (StatusCode::NOT_FOUND, "nobody publishes on this path\n"),
        Err(Refusal::Already) => (StatusCode::CONFLICT, "this path is being recorded\n"),
    }
}

fn stop(uri: &Uri, shared: &Shared) -> (StatusCode, &'static str) {
    match path(uri) {
        None => NO_PATH,
        Some(path) if shared.recorder.stop(&path) => (StatusCode::OK, "stopped\n"),
        Some(_) => (StatusCode::NOT_FOUND, "this path is not being recorded\n"),
    }
}

/// Answers requests until `stop` says otherwise.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) =
        axum::serve(guard::Guard::new(listener), router(shared)).with_graceful_shutdown(stopped).await
    {
        tracing::error!(%error, "the API has stopped");
    }
}
