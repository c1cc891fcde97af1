pub fn draw(_report: &super::report::Report) -> String {
    String::new()
}
