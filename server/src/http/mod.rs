//! HTTP: the API and the metrics, on one address.

mod api;
mod guard;
mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::server::Shared;

const INDEX: &str = "streamgauge\n\n\
    /api/v1/streams   who publishes what, and how many watch (JSON)\n\
    /api/v1/clients   every publisher and viewer with bytes and rates (JSON)\n\
    /metrics          the same for Prometheus\n\
    /healthz          ok while the server runs\n";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn router(shared: Arc<Shared>) -> Router {
    let text = |shared: Arc<Shared>| async move {
        ([(header::CONTENT_TYPE, OPENMETRICS)], metrics::text(&shared)).into_response()
    };
    let (for_streams, for_clients) = (Arc::clone(&shared), Arc::clone(&shared));
    Router::new()
        .route("/", get(async || INDEX))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(move || text(Arc::clone(&shared))))
        .route("/api/v1/streams", get(async move || axum::Json(api::streams(&for_streams))))
        .route("/api/v1/clients", get(async move || axum::Json(api::clients(&for_clients))))
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
