//! Random legal exchanges, which give what they give without a proxy, wherever the streams break.

use capspan::trace::Outcome;
use capspan_testkit::run::run;

use super::setting::Setting;

#[test]
fn legal_exchanges_give_what_they_must_however_the_streams_break() {
    for seed in super::seeds(0..40) {
        eprintln!("seed {seed}");
        run(async {
            let setting = Setting::new(seed);
            let caller = setting.caller();
            caller.exchanges(25 * seed..25 * (seed + 1)).await;
            setting.assert_nothing_refused();
            drop(caller);
            let outcome = setting.finish().await;
            // A call that is never answered may be among them, and is in flight to the end.
            assert!([Outcome::Ok, Outcome::Disconnected].contains(&outcome));
        });
    }
}
