//! Where the checkout and its build results lie, and how to call cargo from inside a `cargo run`.

use crate::child;
use anyhow::{Context, Result, ensure};
use std::env;
use std::ffi::OsString;
use std::path::{self, Path, PathBuf};
use xshell::{Cmd, Shell, cmd};

/// The checkout and where its results go.
pub(crate) struct Checkout {
    /// The checkout's top folder.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: `target`, `$CARGO_TARGET_DIR`, or what a configuration file says.
    pub(crate) target: PathBuf,
}

impl Checkout {
    /// Results go where xtask lies itself, unless the environment says otherwise and is meant for us. If it lies in no
    /// folder of cargo's, cargo is asked, which knows every way to say where results go.
    pub(crate) fn find(shell: &Shell) -> Result<Self> {
        let root = root();
        ensure!(
            root.join("xtask/Cargo.toml").is_file(),
            "no checkout of Doorstep in {}, where this xtask was built; start it with `cargo xtask` in the checkout",
            root.display()
        );
        let target = match told_target_folder()? {
            Some(told) => told,
            None => match env::current_exe().ok().and_then(|xtask| target_folder_of(&xtask, &root)) {
                Some(found) => found,
                None => ask_for_target_folder(shell, &root)?,
            },
        };
        Ok(Self { root, target })
    }

    /// Where xtask puts its results.
    pub(crate) fn output(&self) -> PathBuf {
        self.target.join("doorstep")
    }

    /// The path as a person would write it: relative to the working directory where it lies below that.
    pub(crate) fn display(path: &Path) -> String {
        let here = env::current_dir().unwrap_or_default();
        path.strip_prefix(here).unwrap_or(path).display().to_string()
    }
}

/// The checkout's top folder.
pub(crate) fn root() -> PathBuf {
    let mut folder = package_folder(|name| env::var_os(name));
    folder.pop();
    folder
}

/// The folder of xtask's own package.
///
/// The cargo that runs xtask knows where that is, also after the checkout was moved or copied with all that had been
/// compiled. But another project's cargo may have started xtask as its runner, and tells of that project then; what
/// remains is where xtask was compiled.
fn package_folder(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let told = variable("CARGO_MANIFEST_DIR").filter(|_| is_ours(&variable));
    told.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// Whether the cargo that tells of a package in the environment tells of xtask's own.
pub(crate) fn is_ours(variable: &impl Fn(&str) -> Option<OsString>) -> bool {
    let is = |name: &str, ours: &str| variable(name).is_some_and(|value| value == ours);
    is("CARGO_PKG_NAME", env!("CARGO_PKG_NAME")) && is("CARGO_PKG_DESCRIPTION", env!("CARGO_PKG_DESCRIPTION"))
}

/// Whether another project's cargo has started xtask, as its runner: what it says to its programs is not meant for us.
pub(crate) fn is_others_runner() -> bool {
    let variable = |name: &str| env::var_os(name);
    variable("CARGO_MANIFEST_DIR").is_some() && !is_ours(&variable)
}

/// The target folder that a variable names. A relative one is meant from where xtask was started.
fn told_target_folder() -> Result<Option<PathBuf>> {
    if is_others_runner() {
        return Ok(None);
    }
    let told = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].into_iter().filter_map(env::var_os);
    Ok(told.filter(|folder| !folder.is_empty()).map(path::absolute).next().transpose()?)
}

/// The target folder that cargo put a program into, below a folder for the profile. Cargo leaves a mark in it.
fn target_folder_of(program: &Path, root: &Path) -> Option<PathBuf> {
    let found = program.parent()?.parent()?;
    let usual = root.join("target");
    // Without links on the way if it can be, for people to read.
    let is_usual = dunce::canonicalize(&usual).is_ok_and(|usual| usual == found);
    found.join("CACHEDIR.TAG").is_file().then(|| if is_usual { usual } else { found.to_owned() })
}

/// Asks cargo in the checkout: it takes configuration files from where it is started.
fn ask_for_target_folder(shell: &Shell, root: &Path) -> Result<PathBuf> {
    let _folder = shell.push_dir(root);
    let cargo = active_cargo();
    let command = without_cargo_environment(cmd!(shell, "{cargo} metadata --format-version 1 --no-deps"));
    let metadata = child::read(&mut command.into()).context("cannot ask cargo for the target folder")?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
    Ok(target.into())
}

/// The cargo that runs xtask.
pub(crate) fn active_cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What a project's .cargo/config.toml says, so that its cargo runs kernels with this program.
///
/// Not `cargo run --manifest-path …`: that would build xtask with the project's own settings, for the bare machine.
pub(crate) fn runner_lines(xtask: &str) -> String {
    let words = toml::Value::Array(vec![xtask.into(), "runner".into()]);
    format!("[target.'cfg(target_os = \"none\")']\nrunner = {words}")
}

/// A command without what `cargo run` and rustup put into our environment: another toolchain must not see it.
///
/// Flags for the host's compiler go as well: they were not meant for the bare machine, and the same sources are to
/// give the same image.
pub(crate) fn without_cargo_environment(mut command: Cmd<'_>) -> Cmd<'_> {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| set_by_cargo(name) || meant_for_the_host(name)) {
            command = command.env_remove(name);
        }
    }
    match library_path_without_cargo(env::var_os("LD_LIBRARY_PATH")) {
        Some(path) => command.env("LD_LIBRARY_PATH", path),
        None => command.env_remove("LD_LIBRARY_PATH"),
    }
}

fn set_by_cargo(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "RUSTUP_TOOLCHAIN",
        "RUSTUP_TOOLCHAIN_SOURCE",
        "RUST_RECURSION_COUNT",
    ];
    const PREFIXES: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn meant_for_the_host(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "CARGO_BUILD_RUSTC",
        "CARGO_BUILD_RUSTDOCFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTDOCFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 3] = ["CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_UNSTABLE_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `cargo run` puts the folders of its own toolchain and results in front.
fn library_path_without_cargo(path: Option<OsString>) -> Option<OsString> {
    let toolchain = env::var_os("CARGO").map(PathBuf::from);
    let toolchain = toolchain.as_deref().and_then(|cargo| cargo.parent()?.parent());
    let results = env::current_exe().ok();
    let results = results.as_deref().and_then(Path::parent);
    let is_cargos = |folder: &Path| {
        results.is_some_and(|results| folder.starts_with(results))
            || toolchain.is_some_and(|toolchain| {
                folder == toolchain.join("lib") || folder.starts_with(toolchain.join("lib/rustlib"))
            })
    };
    let kept: Vec<PathBuf> = env::split_paths(&path?).filter(|folder| !is_cargos(folder)).collect();
    if kept.is_empty() { None } else { env::join_paths(kept).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The folder when cargo says that it runs a package.
    fn found(name: &str, description: &str, folder: &str) -> PathBuf {
        package_folder(|variable| match variable {
            "CARGO_PKG_NAME" => Some(name.into()),
            "CARGO_PKG_DESCRIPTION" => Some(description.into()),
            "CARGO_MANIFEST_DIR" => Some(folder.into()),
            _ => None,
        })
    }

    #[test]
    fn a_moved_checkout_is_found_where_it_is_now() {
        let description = env!("CARGO_PKG_DESCRIPTION");
        assert_eq!(found("xtask", description, "/moved/xtask"), Path::new("/moved/xtask"));
    }

    #[test]
    fn the_target_folder_is_the_one_that_cargo_marked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = dunce::canonicalize(folder.path()).unwrap();
        let [root, elsewhere] = ["root", "elsewhere"].map(|name| folder.join(name));
        for target in [root.join("target"), elsewhere.clone()] {
            fs::create_dir_all(&target).unwrap();
            let found = |program: &str| target_folder_of(&target.join(program), &root);
            assert_eq!(found("debug/xtask"), None);
            fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
            assert_eq!(found("debug/xtask"), Some(target.clone()));
            assert_eq!(found("x86_64-unknown-linux-gnu/debug/xtask"), None);
        }
        // By a link in the checkout.
        #[cfg(unix)]
        {
            fs::remove_dir_all(root.join("target")).unwrap();
            std::os::unix::fs::symlink(&elsewhere, root.join("target")).unwrap();
            assert_eq!(target_folder_of(&elsewhere.join("debug/xtask"), &root), Some(root.join("target")));
        }
    }

    #[test]
    fn the_runner_is_found_wherever_it_lies() {
        for xtask in ["/door step/xtask", r"C:\door step\target\xtask.exe", "/it's/\"xtask\""] {
            let made: toml::Table = runner_lines(xtask).parse().unwrap();
            let runner = made["target"]["cfg(target_os = \"none\")"]["runner"][0].as_str();
            assert_eq!(runner, Some(xtask));
        }
    }

    #[test]
    fn another_project_is_not_taken_for_the_checkout() {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(found("kernel", "Someone's kernel", "/other/kernel"), ours);
        assert_eq!(found("xtask", "Someone's tasks", "/other/xtask"), ours);
        assert_eq!(package_folder(|_| None), ours);
    }
}
