//! The provider and its clients as processes: rows against SQLite in one process, changes and who is told of them, errors, and kills.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::process::Command;
use std::sync::mpsc::channel;

use common::{Cell, LONG, Place, Process, direct, eventually};
use content_provider::{
    Change, ChangedRows, ContentResolver, ContentValues, Cursor, Error, Query, Refusal, Selection, Value,
};
use rustix::process::Signal;

/// Rows of all types and of many sizes.
const MIXED: &str = "
    CREATE TABLE mixed (id INTEGER PRIMARY KEY, a, b, \"c d\");
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2999)
    INSERT INTO mixed SELECT i,
        CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN i * -7919 WHEN 2 THEN i / 7.0 WHEN 3 THEN 'text ü ' || i
            ELSE zeroblob(i % 90) END,
        CASE i % 7 WHEN 0 THEN 9223372036854775807 WHEN 1 THEN -9223372036854775807 - 1 WHEN 2 THEN 9e999 WHEN 3 THEN ''
            WHEN 4 THEN CAST(x'ff00fe' AS TEXT) WHEN 5 THEN x'' ELSE hex(zeroblob(i % 300)) END,
        i % 13
    FROM n;
    -- Larger than a window, in one row.
    UPDATE mixed SET a = zeroblob(3000000) WHERE id = 1234;
    CREATE TABLE empty (x);
    CREATE TABLE plain (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    INSERT INTO plain VALUES ('one', 1), ('two', 2);
    CREATE VIEW few AS SELECT id, a FROM mixed WHERE id < 10;
    CREATE VIEW endless AS SELECT x.id FROM mixed x, mixed y, mixed z, mixed w;
    CREATE VIEW hopeless AS SELECT x.id FROM mixed x, mixed y, mixed z WHERE x.id + y.id + z.id < 0;
    CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, age INTEGER CHECK (age >= 0));
    CREATE TABLE log (entry);
    CREATE TRIGGER logged AFTER DELETE ON person BEGIN INSERT INTO log VALUES (old.name); END;
";

fn row(cursor: &Cursor) -> Vec<Cell> {
    (0..cursor.columns().len()).map(|column| cursor.value(column).unwrap().into()).collect()
}

fn all(cursor: &mut Cursor) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    while cursor.move_to_next().unwrap() {
        assert_eq!(cursor.position(), Some(rows.len() as u64));
        rows.push(row(cursor));
    }
    rows
}

fn refused(result: Result<impl Sized, Error>) -> Refusal {
    let Err(error) = result else { panic!("it was done") };
    error.refusal().unwrap_or_else(|| panic!("{error}"))
}

fn person(name: &str, age: i64) -> ContentValues {
    ContentValues::new().put("name", name).put("age", age)
}

#[test]
fn rows_are_those_of_sqlite() {
    let place = Place::new(MIXED);
    let connection = place.connection();
    let _provider = place.serve(&["--window-size", "16384"]);
    let resolver = place.resolver();
    let selection =
        || Selection::new("id % ? = ? OR a = ?", [Value::from(3), Value::from(1), Value::from("text ü 8")]);
    let arguments = [Value::from(3), Value::from(1), Value::from("text ü 8")];
    for (query, sql, arguments) in [
        (Query::table("mixed"), "SELECT * FROM mixed", &[][..]),
        (
            Query::table("MIXED")
                .columns(["B", "rowid", "c d"])
                .selection(selection())
                .descending("c d")
                .ascending("id"),
            "SELECT b, rowid, \"c d\" FROM mixed WHERE id % ? = ? OR a = ? ORDER BY \"c d\" DESC, id",
            &arguments[..],
        ),
        (Query::table("mixed").limit(7), "SELECT * FROM mixed LIMIT 7", &[]),
        (Query::table("mixed").limit(0), "SELECT * FROM mixed LIMIT 0", &[]),
        (Query::table("empty"), "SELECT * FROM empty", &[]),
        (Query::table("plain"), "SELECT * FROM plain", &[]),
        (Query::table("few"), "SELECT * FROM few", &[]),
    ] {
        let expected = direct(&connection, sql, arguments);
        let mut cursor = resolver.query(&query).unwrap();
        assert!(all(&mut cursor) == expected, "{sql}");
        assert!(!cursor.move_to_next().unwrap() && cursor.value(0).is_err());
        assert_eq!(cursor.count().unwrap(), expected.len() as u64);
        assert_eq!(resolver.query(&query).unwrap().count().unwrap(), expected.len() as u64, "{sql}");

        let mut parcels = resolver.query_through_parcels(&query, 10_000).unwrap();
        for expected in &expected {
            assert!(parcels.move_to_next().unwrap());
            let row: Vec<Cell> =
                (0..parcels.columns()).map(|column| parcels.value(column).unwrap().into()).collect();
            assert!(row == *expected, "{sql}");
        }
        assert!(!parcels.move_to_next().unwrap());
    }
}

#[test]
fn a_cursor_moves_anywhere() {
    let place = Place::new(MIXED);
    let expected = direct(&place.connection(), "SELECT * FROM mixed", &[]);
    let _provider = place.serve(&["--window-size", "8192"]);
    let mut cursor = place.resolver().query(&Query::table("mixed")).unwrap();
    assert!(cursor.value(0).is_err() && !cursor.move_to_previous().unwrap());
    for position in [2999, 0, 1500, 1499, 1234, 3000, 1233, 1235, 2998, u64::MAX, 17] {
        let found = cursor.move_to(position).unwrap();
        assert_eq!(found, position < 3000, "{position}");
        assert_eq!(cursor.position(), found.then_some(position));
        assert!(!found || row(&cursor) == expected[position as usize]);
    }
    // Backwards over all rows, each window asked for once.
    assert!(cursor.move_to_last().unwrap());
    let windows = cursor.windows_received();
    for position in (0..3000).rev() {
        assert!(row(&cursor) == expected[position], "{position}");
        assert_eq!(cursor.move_to_previous().unwrap(), position > 0);
    }
    assert!(cursor.windows_received() - windows < 300, "{}", cursor.windows_received() - windows);
    assert!(matches!(cursor.integer(9), Err(Error::NoRow)));
    cursor.move_to_next().unwrap();
    assert!(matches!(cursor.integer(9), Err(Error::NoColumn { column: 9, columns: 4 })));
    assert!(matches!(cursor.text(0), Err(Error::WrongType { .. })));
    cursor.move_to(4).unwrap();
    assert!(matches!(cursor.text(2), Err(Error::NotUtf8 { column: 2 })));
    assert_eq!(cursor.column_index("C D"), Some(3));
}

#[test]
fn a_cursor_sees_what_was_there() {
    let place = Place::new(MIXED);
    let _provider = place.serve(&["--window-size", "4096"]);
    let resolver = place.resolver();
    let expected = direct(&place.connection(), "SELECT * FROM mixed", &[]);
    let mut cursor = resolver.query(&Query::table("mixed")).unwrap();
    assert!(cursor.move_to(0).unwrap());
    assert_eq!(resolver.delete("mixed", &Selection::new("id > ?", [50])).unwrap(), 2949);
    assert_eq!(resolver.update("mixed", &ContentValues::new().put("a", 1), &Selection::all()).unwrap(), 51);
    cursor.move_to_start();
    assert!(all(&mut cursor) == expected);
    assert!(cursor.move_to(100).unwrap() && row(&cursor) == expected[100]);
    assert_eq!(resolver.query(&Query::table("mixed")).unwrap().count().unwrap(), 51);
}

#[test]
fn changes_and_their_errors() {
    let place = Place::new(MIXED);
    let _provider = place.serve(&[]);
    let resolver = place.resolver();
    assert_eq!(resolver.insert("person", &person("Ada", 36)).unwrap(), 1);
    assert_eq!(resolver.insert("person", &person("O'Brien\"; --", 7)).unwrap(), 2);
    let named = |name: &str| Selection::new("name = ?", [name]);
    assert_eq!(resolver.update("person", &ContentValues::new().put("age", 37), &named("Ada")).unwrap(), 1);
    assert_eq!(resolver.delete("person", &named("O'Brien\"; --")).unwrap(), 1);
    assert_eq!(
        direct(&place.connection(), "SELECT entry FROM log", &[]),
        [[Cell::Text(b"O'Brien\"; --".to_vec())]]
    );

    assert_eq!(refused(resolver.insert("person", &person("Ada", 1))), Refusal::Constraint);
    assert_eq!(refused(resolver.insert("person", &person("Bob", -1))), Refusal::Constraint);
    assert_eq!(refused(resolver.insert("person", &ContentValues::new())), Refusal::Constraint);
    assert_eq!(refused(resolver.insert("persons", &person("Bob", 1))), Refusal::NoSuchTable);
    assert_eq!(refused(resolver.insert("person", &ContentValues::new().put("x", 1))), Refusal::NoSuchColumn);
    assert_eq!(
        refused(resolver.update("person", &ContentValues::new(), &Selection::all())),
        Refusal::Arguments
    );
    assert_eq!(refused(resolver.insert("few", &ContentValues::new().put("id", 1))), Refusal::Sql);
    for table in [
        "sqlite_schema",
        "sqlite_master",
        "SQLITE_SEQUENCE",
        "pragma_table_list",
        "person; DROP TABLE log",
        "",
        "\0",
    ] {
        assert_eq!(refused(resolver.query(&Query::table(table))), Refusal::NoSuchTable, "{table:?}");
        assert_eq!(refused(resolver.delete(table, &Selection::all())), Refusal::NoSuchTable, "{table:?}");
    }
    let select = |expression: &str, arguments: &[i64]| {
        let selection = Selection::new(expression, arguments.iter().copied());
        refused(resolver.query(&Query::table("person").selection(selection)))
    };
    for expression in [
        "1 = 1",
        "name = 'Ada'",
        "id) OR (id",
        "id; DELETE FROM person",
        "id IN (SELECT id FROM log)",
        "id IN (\u{feff}SELECT id FROM log)",
        "id -- x",
    ] {
        assert_eq!(select(expression, &[]), Refusal::Selection, "{expression}");
    }
    for expression in [
        "load_extension(name)",
        "randomblob(id)",
        "instr(name, name)",
        "trim(name, name)",
        "id IN sqlite_schema",
        "id IN pragma_table_list",
    ] {
        let refusal = select(expression, &[]);
        assert!([Refusal::Selection, Refusal::Sql].contains(&refusal), "{expression}: {refusal}");
    }
    for expression in ["id = ? OR", "nobody = ?", "\"nobody\" = ?", "id ORDER BY ?", "max(id) = ?"] {
        assert_eq!(select(expression, &[1]), Refusal::Sql, "{expression}");
    }
    assert_eq!(select("id = ?", &[]), Refusal::Arguments);
    assert_eq!(select("id = ?", &[1, 2]), Refusal::Arguments);
    assert_eq!(refused(resolver.query(&Query::table("person").columns(["id", "1"]))), Refusal::NoSuchColumn);
    assert_eq!(
        refused(resolver.query(&Query::table("person").ascending("id LIMIT 1"))),
        Refusal::NoSuchColumn
    );
    assert_eq!(refused(resolver.query(&Query::table("plain").columns(["rowid"]))), Refusal::NoSuchColumn);

    let _brief = place.serve(&["--time-limit", "300", "--authority", "brief"]);
    let brief = ContentResolver::open(&place.services(), "brief").unwrap();
    // What takes too long ends, for this client and at the provider.
    assert_eq!(refused(brief.query(&Query::table("endless")).unwrap().count()), Refusal::TooLong);
    let mut cursor = brief.query(&Query::table("hopeless")).unwrap();
    assert_eq!(refused(cursor.move_to_next()), Refusal::TooLong);
    assert_eq!(refused(cursor.move_to_next()), Refusal::TooLong, "and it can be tried again");
    assert_eq!(resolver.query(&Query::table("person")).unwrap().count().unwrap(), 1);

    let _reader = place.serve(&["--read-only", "--authority", "reader"]);
    let reader = ContentResolver::open(&place.services(), "reader").unwrap();
    assert_eq!(refused(reader.insert("person", &person("Bob", 1))), Refusal::ReadOnly);
    assert_eq!(reader.query(&Query::table("person")).unwrap().count().unwrap(), 1);
    assert_eq!(
        reader.tables().unwrap(),
        ["empty", "endless", "few", "hopeless", "log", "mixed", "person", "plain"]
    );
}

#[test]
fn no_space_is_an_error_and_the_rest_goes_on() {
    let place = Place::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t (x) VALUES (zeroblob(1000));
         CREATE VIEW pairs AS SELECT a.x, b.x AS y FROM t a, t b",
    );
    let blob = |length| ContentValues::new().put("x", vec![7; length]);
    let fill = |resolver: &ContentResolver| {
        for count in 0..10_000 {
            match resolver.insert("t", &blob(100_000)) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.refusal(), Some(Refusal::Full), "{error}");
                    return count;
                }
            }
        }
        panic!("it is never full");
    };
    let counts = |resolver: &ContentResolver, rows: u64| {
        let mut cursor = resolver.query(&Query::table("t")).unwrap();
        assert_eq!(all(&mut cursor).len() as u64, rows);
    };
    {
        let _provider = place.serve(&["--max-pages", "200"]);
        let resolver = place.resolver();
        let count = fill(&resolver);
        assert!(count > 1);
        counts(&resolver, count + 1);
        assert_eq!(resolver.delete("t", &Selection::new("id > ?", [1])).unwrap(), count);
        resolver.insert("t", &blob(100_000)).unwrap();
        counts(&resolver, 2);
    }
    // The kernel's limit for files, as a full disk: of 4 MiB.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 8192; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_content_provider")]);
    command.args(["serve", "--until-input-ends"]).arg(&place.database).env("ASHMEM_BINDER", &place.address);
    let mut provider = Process::start(&mut command);
    assert_eq!(provider.line(), "content_provider: ready");
    let resolver = place.resolver();
    let rows = 2 + fill(&resolver);
    assert!(rows > 3);
    counts(&resolver, rows);
    // No room to sort in either: that ends the transaction, and another snapshot is not shown in its place.
    let mut cursor = resolver.query(&Query::table("pairs").ascending("x").ascending("y")).unwrap();
    assert_eq!(refused(cursor.move_to_next()), Refusal::Full);
    assert_eq!(refused(cursor.move_to_next()), Refusal::Expired);
    counts(&resolver, rows);
    drop(provider);
    let found = direct(&place.connection(), "PRAGMA integrity_check", &[]);
    assert_eq!(found, [[Cell::Text(b"ok".to_vec())]]);
}

#[test]
fn observers_are_told() {
    let place = Place::new(MIXED);
    let provider = place.serve(&[]);
    let resolver = place.resolver();
    let (sender, all_changes) = channel();
    let every = resolver.register_observer(None, None, move |change| sender.send(change).unwrap()).unwrap();
    let (sender, rows) = channel();
    let one = resolver
        .register_observer(Some("PERSON"), Some(2), move |change| sender.send(change).unwrap())
        .unwrap();
    assert_eq!(refused(resolver.register_observer(Some("nobody"), None, |_| {})), Refusal::NoSuchTable);
    let these = |table: &str, rows: &[i64]| Change {
        table: table.to_owned(),
        rows: ChangedRows::These(rows.iter().copied().collect()),
    };
    let next = || all_changes.recv_timeout(LONG).unwrap();
    for (name, id) in [("Ada", 1), ("Bob", 2), ("Cay", 3)] {
        resolver.insert("person", &person(name, 1)).unwrap();
        assert_eq!(next(), these("person", &[id]));
    }
    assert_eq!(rows.recv_timeout(LONG).unwrap(), these("person", &[2]));
    resolver.delete("person", &Selection::new("id > ?", [1])).unwrap();
    // Its trigger wrote, too.
    assert_eq!([next(), next()], [these("log", &[1, 2]), these("person", &[2, 3])]);
    assert_eq!(rows.recv_timeout(LONG).unwrap(), these("person", &[2, 3]));
    resolver.delete("mixed", &Selection::all()).unwrap();
    assert_eq!(next(), Change { table: "mixed".to_owned(), rows: ChangedRows::Any });
    resolver.update("plain", &ContentValues::new().put("value", 3), &Selection::all()).unwrap();
    assert_eq!(next().table, "plain");
    assert!(resolver.insert("person", &person("Ada", 1)).is_err());
    resolver.insert("person", &person("Dan", 1)).unwrap();
    assert_eq!(next(), these("person", &[2]), "not of what failed");
    drop(one);
    drop(every);

    // A client that is stopped delays nobody, however much it is not told.
    let before = provider.holds();
    let mut watch = Process::start(place.program().arg("watch"));
    assert_eq!(watch.line(), "watching");
    watch.signal(Signal::STOP);
    let (sender, changes) = channel();
    let _other =
        resolver.register_observer(Some("log"), None, move |change| sender.send(change).unwrap()).unwrap();
    for entry in 0..60 {
        resolver.insert("log", &ContentValues::new().put("entry", entry)).unwrap();
    }
    // More than the connection to the one that is stopped takes: what is told of each has 60 rows.
    for entry in 0..600 {
        let rows = Selection::new("rowid > ?", [2]);
        assert_eq!(resolver.update("log", &ContentValues::new().put("entry", entry), &rows).unwrap(), 60);
        while !changes.recv_timeout(LONG).unwrap().rows.include(62) {}
    }
    watch.signal(Signal::CONT);
    assert!(watch.line().starts_with("log\t"));
    watch.kill();
    drop(_other);
    eventually("dead observers are forgotten", || provider.holds() <= before);
}

#[test]
fn clients_that_are_killed_leave_nothing() {
    let place = Place::new(MIXED);
    let provider = place.serve(&[]);
    let resolver = place.resolver();
    assert_eq!(place.run(&["query", "few"]).status.code(), Some(0));
    let read = |resolver: &ContentResolver| all(&mut resolver.query(&Query::table("mixed")).unwrap()).len();
    assert_eq!(read(&resolver), 3000);
    let (descriptors, threads) = provider.holds();
    for round in 0..8 {
        let mut clients = [
            Process::start(place.program().args(["query", "mixed", "--json"])),
            Process::start(place.program().args(["query", "endless"])),
            Process::start(place.program().args(["watch", "person"])),
            Process::start(place.program().args(["update", "mixed", "c d=5", "--all"])),
        ];
        // At some moment of what they do.
        for _ in 0..round * 100 {
            clients[1].line();
        }
        if round % 2 == 0 {
            assert_eq!(clients[2].line(), "watching");
        }
        clients.iter_mut().for_each(Process::kill);
        assert_eq!(read(&resolver), 3000, "others go on");
    }
    // Connections that wait for the next query may stay, as may what was there.
    eventually("threads end", || provider.holds().1 <= threads);
    eventually("descriptors are closed", || provider.holds().0 <= descriptors + 3 * 8);
}

#[test]
fn a_provider_that_is_killed_is_an_error_and_loses_nothing() {
    let place = Place::new(MIXED);
    for round in 0..4u64 {
        let mut provider = place.serve(&[]);
        let resolver = place.resolver();
        let mut cursor = resolver.query(&Query::table("mixed")).unwrap();
        assert!(cursor.move_to_next().unwrap());
        let writer = std::thread::spawn({
            let resolver = resolver.clone();
            move || {
                let mut written = 0;
                loop {
                    match resolver
                        .insert("log", &ContentValues::new().put("entry", i64::try_from(round).unwrap()))
                    {
                        Ok(_) => written += 1,
                        Err(error) => break (written, error),
                    }
                }
            }
        });
        eventually("something is written", || {
            resolver
                .query(&Query::table("log").selection(Selection::new("entry = ?", [round as i64])))
                .unwrap()
                .count()
                .unwrap()
                > round * 3
        });
        provider.kill();
        let (written, error) = writer.join().unwrap();
        assert!(error.is_dead(), "{error}");
        // What is in its window it still has.
        for _ in 1..cursor.window().end {
            assert!(cursor.move_to_next().unwrap());
        }
        assert!(cursor.move_to_next().unwrap_err().is_dead());
        assert!(resolver.query(&Query::table("mixed")).unwrap_err().is_dead());
        let found =
            direct(&place.connection(), &format!("SELECT count(*) FROM log WHERE entry = {round}"), &[]);
        let Cell::Integer(found) = found[0][0] else { panic!() };
        assert!(found == written || found == written + 1, "{found} of {written}");
    }
}

#[test]
fn there_are_limits() {
    let place = Place::new(MIXED);
    let provider = place.serve(&[]);
    let resolver = place.resolver();
    let query = Query::table("few");
    let mut cursors: Vec<Cursor> = (0..32).map(|_| resolver.query(&query).unwrap()).collect();
    assert_eq!(refused(resolver.query(&query)), Refusal::TooMany);
    assert_eq!(place.run(&["query", "few"]).status.code(), Some(0), "other processes go on");
    cursors.iter_mut().for_each(|cursor| assert!(cursor.move_to_next().unwrap()));
    let threads = provider.holds().1;
    drop(cursors);
    eventually("cursors end with their clients", || provider.holds().1 <= threads - 32);
    eventually("places come back", || resolver.query(&query).is_ok());
    drop(provider);

    let _provider = place.serve(&["--idle-limit", "1", "--authority", "impatient"]);
    let impatient = ContentResolver::open(&place.services(), "impatient").unwrap();
    eventually("a cursor expires", || {
        let mut cursor = impatient.query(&query).unwrap();
        // Most often longer than that.
        std::thread::sleep(std::time::Duration::from_millis(5));
        matches!(cursor.count(), Err(error) if error.refusal() == Some(Refusal::Expired))
    });
}

#[test]
fn commands() {
    let place = Place::new(MIXED);
    let provider = place.serve(&[]);
    let output = |arguments: &[&str]| {
        let output = place.run(arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let done = |text: &str| (0, format!("{text}\n"), String::new());
    assert_eq!(output(&["insert", "person", "name=Ada", "age=36"]), done("1"));
    assert_eq!(output(&["insert", "person", "name=text:7", "age=null:"]), done("2"));
    let query = ["query", "person", "--order", "id:desc", "--where", "id < ?", "--bind", "9"];
    assert_eq!(output(&query), done("id\tname\tage\n2\t7\t\n1\tAda\t36"));
    assert_eq!(
        output(&["query", "person", "--columns", "age,name", "--json"]),
        done("[\"age\",\"name\"]\n[36,\"Ada\"]\n[null,\"7\"]")
    );
    assert_eq!(output(&["query", "mixed", "--count"]), done("3000"));
    assert_eq!(output(&["update", "person", "age=1", "--all"]), done("2"));
    assert_eq!(output(&["delete", "person", "--where", "name = ?", "--bind", "text:7"]), done("1"));
    assert_eq!(output(&["tables"]).1.lines().count(), 8);
    let refused = output(&["query", "person", "--where", "name = 'x'"]);
    assert_eq!(refused.0, 1);
    assert!(refused.2.starts_with("content_provider: query: selection refused: "), "{}", refused.2);
    assert_eq!(output(&["delete", "person"]).0, 2);
    assert_eq!(output(&["query", "person", "--bind", "hex:0"]).0, 2);
    assert_eq!(output(&["serve", "/nowhere/at/all.db"]).0, 1);
    let taken = place.run(&["serve", place.database.to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(1), "the name is taken");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("serve: "), "{taken:?}");
    let text = place.directory.path().join("text.db");
    std::fs::write(&text, "this is no database, but it is long enough to be looked at".repeat(100)).unwrap();
    let broken = output(&["serve", "--read-only", text.to_str().unwrap()]);
    assert_eq!(broken.0, 1);
    assert!(broken.2.contains("not a database"), "{}", broken.2);
    let mut watch = Process::start(place.program().arg("watch"));
    assert_eq!(watch.line(), "watching");
    drop(provider);
    assert_eq!(watch.line(), "");
    assert_eq!(watch.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_demonstration_that_is_interrupted_leaves_nothing() {
    let place = Place::new("");
    let temporary = place.directory.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let entries = || std::fs::read_dir(&temporary).unwrap().count();
    let mut demo =
        Process::start(place.program().args(["demo", "--rounds", "100"]).env("TMPDIR", &temporary));
    eventually("it has begun", || entries() > 0);
    demo.signal(Signal::TERM);
    assert_eq!(demo.child.wait().unwrap().code(), Some(1));
    assert_eq!(entries(), 0);
}

#[test]
fn the_demonstration_is_right() {
    let place = Place::new(MIXED);
    let figure = place.directory.path().join("figure.svg");
    let output = place.run(&["demo", "--rows", "500", "--rounds", "1", "--plot", figure.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read_to_string(figure).unwrap().contains("windows, from memory"));
    let database = place.database.to_str().unwrap();
    let output = place.run(&[
        "demo",
        "--database",
        database,
        "--table",
        "mixed",
        "--rows",
        "1500",
        "--rounds",
        "1",
        "--json",
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("\"is_right\": true").count(), 4);
}
