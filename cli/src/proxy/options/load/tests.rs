use super::*;

fn args(options: &str) -> ProxyArgs {
    let both = "listen = \"unix:/a\"\nupstream = \"unix:/b\"\n";
    ProxyArgs {
        options: toml::from_str(&format!("{both}{options}")).unwrap(),
        ..ProxyArgs::default()
    }
}

fn wrong(args: &ProxyArgs) -> Vec<String> {
    match args.load() {
        Err(Failure::Wrong(told)) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_holds_by_default_is_what_holds_without_options() {
    let with = args("").load().unwrap().config;
    let address = |text: &str| text.parse::<crate::proxy::Address>().unwrap();
    let without = Config::new(address("unix:/a"), address("unix:/b"));
    assert_eq!(format!("{with:?}"), format!("{without:?}"));
    assert_eq!(with.limits.guard, GuardLimits::default());
    assert_eq!(with.limits.membrane, membrane::Limits::default());
}

#[test]
fn each_limit_gets_to_where_it_belongs() {
    let config = args(
        "max-connections = 1\nall-calls = 24\nall-capabilities = 25\nall-bytes = 26\nthreads = 2\nsession-time = \"2s\"\nidle-time = \"3s\"\nsession-capabilities = 4\n\
         session-message-capabilities = 5\nsession-calls = 6\nmax-calls = 7\nmax-unfinished = 8\n\
         max-call-bytes = 9\nmax-exports = 10\nmax-imports = 11\nmax-capabilities = 12\n\
         max-pipeline-depth = 13\nmax-hops = 14\nmax-waiting = 15\nmessages-a-second = 16\n\
         bytes-a-second = 17\nmax-canceled-of = 18\nmax-queued = 19\nmax-burst = 20\n\
         first-message = \"21s\"\nhalf-message = \"22s\"\nlast-message = \"23s\"\n",
    );
    let seconds = Duration::from_secs;
    let limits = config.load().unwrap().config.limits;
    let guard = GuardLimits::default()
        .max_calls(7)
        .max_unfinished(8)
        .max_call_bytes(9)
        .max_exports(10)
        .max_imports(11)
        .max_capabilities(12)
        .max_pipeline_depth(13)
        .max_hops(14)
        .max_waiting(15)
        .messages_a_second(16)
        .bytes_a_second(17)
        .max_canceled_of(18)
        .max_queued(19)
        .max_burst(20)
        .first_message(seconds(21))
        .half_message(seconds(22))
        .last_message(seconds(23));
    assert_eq!(limits.guard, guard);
    let membrane = membrane::Limits::default();
    let membrane = membrane
        .capabilities(4)
        .capabilities_in_a_message(5)
        .calls(6);
    assert_eq!(limits.membrane, membrane);
    assert_eq!(limits.connections, 1);
    let together = Together {
        calls: Some(24),
        capabilities: Some(25),
        bytes: Some(26),
    };
    assert_eq!(limits.together, together);
    let times = (limits.session, limits.idle);
    assert_eq!(times, (Some(seconds(2)), Some(seconds(3))));
}

#[test]
fn the_command_line_goes_before_the_file_and_errors_say_which_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.toml");
    std::fs::write(
        &path,
        "deny = [\"0x1\", \"0x2\"]\n\nservice = \"\"\nthreads = 3\nquiet = true\nidle-time = \"1s\"\n",
    )
    .unwrap();
    let title = path.to_str().unwrap().to_owned();
    let mut args = args("threads = 2000\ndeny = \"0x3\"\nquiet = false\nidle-time = \"none\"\n");
    args.config = Some(title.clone());
    let told = wrong(&args);
    assert_eq!(
        told,
        [
            "--threads: 2000 are more than 1024".to_owned(),
            format!("{title}:3: service: a service has a name"),
        ]
    );
    args.options.threads = None;
    args.options.service = Some("s".into());
    let config = args.load().unwrap().config;
    assert_eq!(config.threads.get(), 3);
    assert!(!config.is_quiet);
    assert_eq!(config.limits.idle, None);
    assert!(config.rules.refuses(3, 0).is_some());
    assert!(config.rules.refuses(1, 0).is_none());
}

#[test]
fn what_makes_no_sense_is_told_all_at_once() {
    let told = wrong(&ProxyArgs::default());
    assert!(told[0].contains("--listen ADDRESS") && told[1].contains("--upstream ADDRESS"));
    let told = wrong(&args(
        "connect-timeout = \"0s\"\nsession-time = \"0s\"\nthreads = 1025\notlp = \"localhost:4318\"\n\
         json = \"\"\npage = \"0.0.0.0:80\"\nallow = \"Nobody\"\n\
         all-bytes = 0\nmax-call-bytes = 0\nbytes-a-second = 0\nmax-queued = 0\nmax-burst = 0\n",
    ));
    let keys = [
        "connect-timeout",
        "session-time",
        "all-bytes",
        "max-call-bytes",
        "bytes-a-second",
        "max-queued",
        "max-burst",
        "threads",
        "otlp",
        "json",
        "page",
        "allow",
    ];
    assert_eq!(told.len(), keys.len(), "{told:#?}");
    for (told, key) in told.iter().zip(keys) {
        assert!(told.starts_with(&format!("--{key}: ")), "{told}");
    }
    // To be cut at once is something that one may want.
    args("drain-timeout = \"0s\"").load().unwrap();
    args("threads = 0").load().unwrap();
}

#[test]
fn a_part_of_what_all_may_have_has_room_for_one() {
    let told = wrong(&args(
        "threads = 4\nall-calls = 4096\nall-capabilities = 40003\nall-bytes = \"256MiB\"\n",
    ));
    let keys = ["all-calls", "all-capabilities", "all-bytes"];
    assert_eq!(told.len(), keys.len(), "{told:#?}");
    for (told, key) in told.iter().zip(keys) {
        assert!(told.starts_with(&format!("--{key}: ")), "{told}");
    }
    args("threads = 4\nall-calls = 4100\nall-capabilities = 40004\nall-bytes = \"257MiB\"\n")
        .load()
        .unwrap();
}

#[test]
fn a_page_that_others_reach_takes_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let args = args(&format!("page = \"[::]:80\"\npage-token-file = {path:?}\n"));
    for (token, is_one) in [
        ("0123456789abcdef\n", true),
        ("0123456789abcdef", true),
        ("0123456789abcde\n", false),
        ("0123456789abcdef\n\nx", false),
        ("0123456789 abcdef", false),
        ("0123456789abcdéf", false),
        ("", false),
    ] {
        std::fs::write(&path, token).unwrap();
        let loaded = args.load();
        assert_eq!(loaded.is_ok(), is_one, "{token:?}");
        if let Ok(loaded) = loaded {
            // What is printed does not tell.
            assert!(!loaded.to_toml().unwrap().contains("0123456789"));
            assert_eq!(loaded.config.page_token.unwrap(), "0123456789abcdef");
        }
    }
    std::fs::remove_file(&path).unwrap();
    assert!(wrong(&args)[0].starts_with("--page-token-file: "));
}
