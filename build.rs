//! Compiles `proto/` with protox, so that no protoc is needed on the machine, and what the programs carry on
//! Windows: icon, version, manifest, texts of the event log.

use std::{env, error::Error, fs, path::Path, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let trust = protox::compile(["proto/windlass/trust/v1/trust.proto"], ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(trust)?;
    let messages = protox::compile(
        ["proto/windlass/desired/v1/desired.proto", "proto/windlass/tunnel/v1/tunnel.proto"],
        ["proto"],
    )?;
    prost_build::Config::new()
        .bytes(["."])
        .extern_path(".windlass.trust.v1", "crate::wire::trust_v1")
        .compile_fds(messages)?;

    if env::var_os("CARGO_FEATURE_AGENT").is_some() {
        let services =
            protox::compile(["proto/windlass/local/v1/local.proto", "proto/grpc/health/v1/health.proto"], ["proto"])?;
        tonic_prost_build::configure().compile_fds(services)?;
        if env::var("CARGO_CFG_TARGET_OS")? == "windows" {
            link_windows_resources()?;
        }
    }
    Ok(())
}

fn link_windows_resources() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=resources/windows");
    let out = env::var("OUT_DIR")?;
    compile_messages("src/agent/service/events.mc", &out)?;
    let version = env::var("CARGO_PKG_VERSION")?;
    let part = |name: &str| env::var(format!("CARGO_PKG_VERSION_{name}"));
    let numbers = format!("{},{},{},0", part("MAJOR")?, part("MINOR")?, part("PATCH")?);
    // A file, as windres loses the quotes of a macro on its command line.
    fs::write(
        Path::new(&out).join("version.h"),
        format!("#define VERSION \"{version}\"\n#define VERSION_NUMBERS {numbers}\n"),
    )?;
    for program in ["windlass-agent", "windlass-service-host"] {
        let parameters = embed_resource::ParamsIncludeDirs([out.as_str(), "resources/windows"]);
        embed_resource::compile_for(format!("resources/windows/{program}.rc"), [program], parameters)
            .manifest_required()?;
    }
    Ok(())
}

/// Makes of an .mc file a message table in `out`, and there an .rc file of the same name that includes it.
fn compile_messages(source: &str, out: &str) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={source}");
    let compiler =
        embed_resource::find_windows_sdk_tool("mc.exe").unwrap_or_else(|| "x86_64-w64-mingw32-windmc".into());
    let done = Command::new(&compiler).args(["-h", out, "-r", out, source]).status().map_err(|error| {
        format!("run {} for {source}: {error}; expected the Windows SDK or binutils-mingw-w64", compiler.display())
    })?;
    if done.success() { Ok(()) } else { Err(format!("{} {source}: {done}", compiler.display()).into()) }
}
