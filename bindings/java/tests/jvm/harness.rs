//! Compiles the classes and runs them in JVMs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A JDK, and the classes of the jar and of the tests, compiled with it.
pub struct Jdk {
    bin: Option<PathBuf>,
    classes: tempfile::TempDir,
}

/// The JDK of `$JAVA_HOME`, or that of `$PATH`. Says that the test is skipped where there is none.
///
/// # Panics
/// In CI when there is none; everywhere when the classes do not compile.
pub fn jdk() -> Option<&'static Jdk> {
    static JDK: OnceLock<Option<Jdk>> = OnceLock::new();
    let jdk = JDK.get_or_init(Jdk::find).as_ref();
    if jdk.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no JDK");
        eprintln!("skipped: no javac in $JAVA_HOME/bin or $PATH; a JDK of version 17 or later is needed");
    }
    jdk
}

/// The native library that cargo has built for this test.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.with_file_name("libashmem_jni.so");
    assert!(built.exists(), "{}", built.display());
    built
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "java") {
            found.push(path);
        }
    }
}

impl Jdk {
    fn find() -> Option<Jdk> {
        let bin = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
        let classes = tempfile::tempdir().unwrap();
        let jdk = Jdk { bin, classes };
        jdk.tool("javac").arg("-version").output().ok()?;
        jdk.compile(&[&package().join("java"), &package().join("tests/classes")], &[], jdk.classes.path());
        Some(jdk)
    }

    /// A command of the JDK.
    pub fn tool(&self, name: &str) -> Command {
        Command::new(self.bin.as_ref().map_or(name.into(), |bin| bin.join(name)))
    }

    /// Compiles all sources below some directories, against some classes.
    pub fn compile(&self, from: &[&Path], against: &[&Path], into: &Path) {
        let mut files = Vec::new();
        for directory in from {
            sources(directory, &mut files);
        }
        let mut javac = self.tool("javac");
        javac.args(["--release", "17", "-Xlint:all", "-Werror", "-encoding", "UTF-8", "-d"]).arg(into);
        if !against.is_empty() {
            javac.arg("-cp").arg(std::env::join_paths(against).unwrap());
        }
        let output = javac.args(files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where the classes are.
    pub fn classes(&self) -> &Path {
        self.classes.path()
    }

    /// A JVM with the classes and the native library that were just built. JNI checks what the library does.
    pub fn java(&self) -> Command {
        let mut java = self.tool("java");
        java.arg("-cp").arg(self.classes.path()).arg("-Xcheck:jni").arg("-Xmx512m");
        java.arg(format!("-Dashmem.library.path={}", library().display()));
        // Else one that CI's machine has set for all JVMs prints a line of its own.
        java.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
        java
    }

    /// Runs the tests of a class of `ashmem.test`.
    pub fn run_tests(&self, class: &str) {
        self.run_tests_in(&mut self.java(), class);
    }

    /// Runs the tests of a class of `ashmem.test` in a JVM that was prepared.
    pub fn run_tests_in(&self, java: &mut Command, class: &str) {
        let output = java.args(["ashmem.test.Runner", &format!("ashmem.test.{class}")]).output().unwrap();
        assert_success(&output);
    }
}

/// A JVM ended well, and had nothing to say about the native library.
pub fn assert_success(output: &Output) {
    let out = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{out}{error}", output.status);
    for said in ["WARNING in native method", "FATAL ERROR in native method", "WARNING: JNI"] {
        assert!(!out.contains(said) && !error.contains(said), "{out}{error}");
    }
    print!("{out}");
}
