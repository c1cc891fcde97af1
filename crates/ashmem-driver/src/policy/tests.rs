use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(text, Path::new("driver.toml")).map_err(|error| error.to_string())
}

#[test]
fn nothing_means_the_defaults() {
    assert_eq!(parse(""), Ok(Policy::default()));
    assert_eq!(parse("[stall]\n[quota]\n"), Ok(Policy::default()));
}

#[test]
fn the_example_has_every_key_and_its_default() {
    const EXAMPLE: &str = include_str!("../../../../contrib/driver.toml");
    let comments = |line: &&str| !line.starts_with("# ") && *line != "#";
    // Keys are behind a lone `#`, text is behind `# `.
    let keys = EXAMPLE.lines().filter(comments).map(|line| line.strip_prefix('#').unwrap_or(line));
    let text = keys.clone().collect::<Vec<_>>().join("\n");
    let policy = parse(&text).expect("understood");
    let exceptions = policy.cgroups.clone();
    assert_eq!(Policy { cgroups: Vec::new(), ..policy }, Policy::default());
    assert_eq!(exceptions.len(), 1);
    assert_eq!(parse(EXAMPLE), Ok(Policy::default()), "as it comes, it changes nothing");
    for key in [
        "budget",
        "headroom",
        "[stall]",
        "threshold",
        "window",
        "take",
        "pause",
        "[quota]",
        "regions",
        "connections",
        "size",
        "[[cgroup]]",
        "path",
    ] {
        let is_there = keys.clone().any(|line| line.split(" =").next() == Some(key));
        assert!(is_there, "{key}");
    }
}

#[test]
fn every_key_does_what_it_says() {
    let text = "budget = \"1G\"\nheadroom = \"12.5%\"\n[stall]\nthreshold = \"300ms\"\nwindow = \"4s\"\n\
        take = \"32M\"\npause = \"1s\"\n[quota]\nregions = 7\nconnections = 8\nsize = \"2T\"\n\
        [[cgroup]]\npath = \"/a/*\"\nbudget = 65536\nheadroom = \"64M\"\n[[cgroup]]\npath = \"/a/**\"\nheadroom = \"auto\"\n";
    let policy = parse(text).expect("understood");
    assert_eq!((policy.budget, policy.headroom), (Some(1 << 30), Headroom::Share(1250)));
    let (threshold, window) = (Duration::from_millis(300), Duration::from_secs(4));
    assert_eq!(policy.stall, Stall { threshold, window, take: 32 << 20, pause: Duration::from_secs(1) });
    assert_eq!(policy.quota, Quota { regions: 7, connections: 8, size: Some(2 << 40) });
    let of = |cgroup: &str| policy.exception(Path::new(cgroup)).map(|found| (found.budget, found.headroom));
    assert_eq!(of("/a/b"), Some((Some(65536), Some(Headroom::Bytes(64 << 20)))));
    assert_eq!(of("/a/b/c"), Some((None, Some(Headroom::Automatic))));
    assert_eq!(of("/a"), None);
}

#[test]
fn headrooms_are_parts_of_the_limit() {
    assert_eq!(Headroom::Automatic.below(64 << 20), 8 << 20);
    assert_eq!(Headroom::Bytes(10).below(100), 10);
    assert_eq!(Headroom::Bytes(90).below(100), 50, "half at the most");
    assert_eq!(Headroom::Share(5000).below(u64::MAX), u64::MAX / 2);
    assert_eq!(Headroom::Share(0).below(100), 0);
}

#[test]
fn errors_say_where_and_what() {
    let bytes = "a size of at least a page: bytes, or text as \"64M\" (K, M, G or T)";
    let cases = [
        ("\nbugdet = 1", "driver.toml:2: `bugdet`: unknown field `bugdet`, expected one of `budget`,"),
        ("[stall]\nthreshhold = \"1s\"", "driver.toml:2: `threshhold`: unknown field"),
        (
            "budget = \"1X\"",
            &format!("driver.toml:1: `budget`: invalid value: string \"1X\", expected {bytes}, or \"none\""),
        ),
        (
            "budget = 100",
            "driver.toml:1: `budget`: invalid value: integer `100`, expected a size of at least a page",
        ),
        ("budget = -1", "driver.toml:1: `budget`: invalid value: integer `-1`"),
        ("budget = true", "driver.toml:1: `budget`: invalid type: boolean `true`, expected a size"),
        ("budget = \"99999999T\"", "driver.toml:1: `budget`: invalid value"),
        ("headroom = \"51%\"", "driver.toml:1: `headroom`: invalid value: string \"51%\", expected \"auto\""),
        ("headroom = \"%\"", "driver.toml:1: `headroom`"),
        ("[stall]\n\nwindow = \"100ms\"", "driver.toml:3: `window`: expected 500ms to 10s"),
        ("[stall]\nthreshold = \"2s\"", "driver.toml:2: `threshold`: expected a `threshold` that is shorter"),
        ("[stall]\nthreshold = \"0s\"", "driver.toml:2: `threshold`: expected a `threshold` that is shorter"),
        ("stall = { pause = 5 }", "driver.toml:1: `pause`: invalid value: integer `5`, expected a time"),
        ("[stall]\npause = \"5\"", "driver.toml:2: `pause`: invalid value: string \"5\", expected a time"),
        ("[stall]\npause = \"9999999999999s\"", "driver.toml:2: `pause`"),
        ("[quota]\nregions = 0", "driver.toml:2: `regions`: invalid value: integer `0`, expected a number"),
        ("[[cgroup]]\npath = \"a\"", "driver.toml:2: `path`: invalid value: string \"a\", expected the path"),
        ("budget = 9999999\n[[cgroup]]\nbudget = \"none\"", "driver.toml:2: missing field `path`"),
        ("budget 1", "driver.toml:1: "),
        ("budget = 4096\nbudget = 4096", "driver.toml:2: `budget`: duplicate key"),
    ];
    for (text, expected) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
        assert!(!error.contains('\n'));
    }
    let error = Policy::read(Path::new("/nowhere/driver.toml")).expect_err("not there").to_string();
    assert!(error.starts_with("/nowhere/driver.toml: "), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused(text in "\\PC{0,80}", key in "(budget|headroom|path|stall|window)", value in "\\PC{0,12}") {
        let _ = parse(&text);
        let _ = parse(&format!("{key} = {value}"));
        let _ = parse(&format!("[stall]\n{key} = \"{value}\""));
        let _ = parse(&format!("[[cgroup]]\npath = \"/{value}\"\n{key} = {text}"));
    }

    #[test]
    fn any_size_is_understood_or_refused(number: u64, unit in "[KMGTkm%]?") {
        for key in ["budget", "headroom"] {
            if let Ok(policy) = parse(&format!("{key} = \"{number}{unit}\"")) {
                prop_assert!(policy.headroom.below(number) <= number);
            }
        }
    }
}
