//! What this library and those of the project below it have to say, for `android.util.Log`.
#![allow(unsafe_code, reason = "a method that was found once is not looked up again")]

use std::cell::Cell;
use std::sync::OnceLock;

use jni::objects::{JClass, JStaticMethodID, JValue};
use jni::refs::Global;
use jni::signature::{Primitive, ReturnType};
use jni::{Env, jni_sig, jni_str};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::throw::Result;
use crate::vm;

/// `android.util.Log.WARN` and `ERROR`.
const WARN: i32 = 5;
const ERROR: i32 = 6;

/// rsbinder's own are left out: it has a line for whatever a peer does wrong.
const OURS: &str = "ashmem";

struct JavaLog {
    class: Global<JClass<'static>>,
    println: JStaticMethodID,
}

/// Begins to pass on warnings and errors, if nobody else in the process does.
pub(crate) fn begin(env: &mut Env<'_>) -> Result<()> {
    let class = env.find_class(jni_str!("android/util/Log"))?;
    let signature = jni_sig!("(ILjava/lang/String;Ljava/lang/String;)I");
    let println = env.get_static_method_id(&class, jni_str!("println"), signature)?;
    let class = env.new_global_ref(&class)?;
    static LOG: OnceLock<JavaLog> = OnceLock::new();
    if log::set_logger(LOG.get_or_init(|| JavaLog { class, println })).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
    Ok(())
}

impl JavaLog {
    fn print(&self, record: &Record<'_>) -> Result<()> {
        vm::with_env(|env| {
            let tag = env.new_string("ashmem")?;
            let message = env.new_string(record.args().to_string())?;
            let priority = if record.level() == Level::Error { ERROR } else { WARN };
            let arguments = [
                JValue::Int(priority).as_jni(),
                JValue::Object(&tag).as_jni(),
                JValue::Object(&message).as_jni(),
            ];
            let returns = ReturnType::Primitive(Primitive::Int);
            // SAFETY: The method is this class's, and these are its arguments.
            unsafe { env.call_static_method_unchecked(&self.class, self.println, returns, &arguments) }?;
            Ok(())
        })
    }
}

thread_local! {
    static IS_LOGGING: Cell<bool> = const { Cell::new(false) };
}

impl Log for JavaLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().starts_with(OURS)
    }

    fn log(&self, record: &Record<'_>) {
        // Not what goes wrong with a line of the log, nor on a thread that is ending or has no stack for it.
        if !self.enabled(record.metadata()) || IS_LOGGING.try_with(|is| is.replace(true)).unwrap_or(true) {
            return;
        }
        if vm::has_room() {
            let _ = self.print(record);
        }
        IS_LOGGING.set(false);
    }

    fn flush(&self) {}
}
