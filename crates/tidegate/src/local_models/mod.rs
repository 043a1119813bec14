//! Local inference, if this binary was built with the engine.

#[cfg(feature = "engine")]
mod running;

#[cfg(feature = "engine")]
pub use running::open;

#[cfg(not(feature = "engine"))]
pub fn open(
    model: &str,
    _serving: &crate::commands::node::Serving,
) -> Result<crate::commands::node::OpenedRuntime, cli::output::Failure> {
    let message = format!(
        "This build of Tidegate holds no engine, so it can't run {}: it has the runtime echo. Build it with its usual \
         features, or start `tidegate node --model echo`.",
        model
    );
    Err(cli::output::Failure::new(cli::output::NOT_FOUND, message))
}
