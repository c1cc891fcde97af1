//! The progress bar, where there is a terminal to show it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The figures come behind the bar, as far as there is room.
const TEMPLATE: &str = "{prefix:<12} {bar:16} {pos}/{len}  {wide_msg}";

pub struct Progress {
    pub is_visible: bool,
}

impl Progress {
    /// A bar on standard error. It draws nothing where that is no terminal.
    pub fn bar(&self, what: &'static str, steps: u64) -> ProgressBar {
        let target =
            if self.is_visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(steps), target).with_style(style).with_prefix(what)
    }
}
