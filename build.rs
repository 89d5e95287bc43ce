//! Compiles `proto/` with protox, so that no protoc is needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let messages = protox::compile(
        ["proto/windlass/desired/v1/desired.proto", "proto/windlass/tunnel/v1/tunnel.proto"],
        ["proto"],
    )?;
    prost_build::Config::new().bytes(["."]).compile_fds(messages)?;

    if std::env::var_os("CARGO_FEATURE_AGENT").is_some() {
        let services =
            protox::compile(["proto/windlass/local/v1/local.proto", "proto/grpc/health/v1/health.proto"], ["proto"])?;
        tonic_prost_build::configure().compile_fds(services)?;
    }
    Ok(())
}
