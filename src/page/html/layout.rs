//! What all pages have: the head, the bar on top, the place where it goes on.

use std::sync::Arc;

use super::markup::Html;
use crate::page::assets::Asset;
use crate::page::query::Query;
use crate::page::settings::Settings;

/// Where one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Sessions,
    Session,
    Limits,
    Elsewhere,
}

pub(super) struct Layout<'a> {
    pub(super) settings: &'a Settings,
    pub(super) place: Place,
    /// Of the page, before that of the service.
    pub(super) title: &'a str,
    pub(super) query: Option<&'a Query>,
    /// After how many seconds a browser without scripts is to load it again.
    pub(super) refresh: Option<u8>,
}

impl Layout<'_> {
    /// The page, with `content` in the place that changes.
    pub(super) fn page(&self, content: Html) -> String {
        let mut html = Html::default();
        let settings = self.settings;
        html.lit("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">")
            .lit("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
            .lit("<meta name=\"color-scheme\" content=\"light dark\"><title>")
            .put(self.title)
            .lit(" · ")
            .put(&settings.title)
            .lit("</title>");
        if let Some(seconds) = self.refresh {
            html.lit("<meta http-equiv=\"refresh\" content=\"")
                .put(seconds)
                .lit("\">");
        }
        html.lit("<link rel=\"stylesheet\" href=\"");
        self.asset(&mut html, Asset::Style);
        html.lit("\"><link rel=\"icon\" type=\"image/svg+xml\" href=\"");
        self.asset(&mut html, Asset::Icon);
        html.lit("\">");
        if self.place != Place::Elsewhere {
            html.lit("<script defer src=\"");
            self.asset(&mut html, Asset::Script);
            html.lit("\"></script>");
        }
        html.lit("</head><body><a class=\"skip\" href=\"#main\">Skip to the content</a>");
        self.bar(&mut html);
        html.lit("<main id=\"main\" tabindex=\"-1\"><div id=\"live\">");
        html.add(content);
        html.lit("</div></main><p id=\"say\" class=\"unseen\" role=\"status\"></p></body></html>");
        html.into_text()
    }

    fn asset(&self, html: &mut Html, asset: Asset) {
        html.put(&self.settings.base).lit("/").put(asset.path());
    }

    fn bar(&self, html: &mut Html) {
        let settings = self.settings;
        html.lit("<header class=\"bar\"><a class=\"brand\" href=\"")
            .put(&settings.base);
        html.lit(
            "/tracez\"><svg aria-hidden=\"true\" viewBox=\"0 0 16 16\" width=\"18\" height=\"18\">",
        )
        .lit("<rect x=\"1\" y=\"2\" width=\"14\" height=\"3\" rx=\"1.5\"/>")
        .lit("<rect x=\"4\" y=\"6.5\" width=\"8\" height=\"3\" rx=\"1.5\"/>")
        .lit("<rect x=\"7\" y=\"11\" width=\"8\" height=\"3\" rx=\"1.5\"/></svg><bdi>");
        html.put(&settings.title).lit("</bdi></a>");
        if self.place != Place::Elsewhere {
            html.lit("<nav aria-label=\"Pages\">");
            self.tab(html, "/tracez", "Sessions", Place::Sessions);
            self.tab(html, "/tracez/limits", "Limits", Place::Limits);
            html.lit("</nav>");
            self.search(html);
            html.lit("<div class=\"pace\"><span id=\"state\" class=\"state\" hidden></span>")
                .lit("<button type=\"button\" id=\"pause\" hidden>Pause</button>")
                .lit("<noscript><a href=\"\">Reload</a></noscript></div>");
        }
        html.lit("</header>");
    }

    fn tab(&self, html: &mut Html, path: &'static str, label: &'static str, place: Place) {
        html.lit("<a href=\"").put(&self.settings.base).lit(path);
        html.lit(match self.place == place {
            true => "\" aria-current=\"page\">",
            false => "\">",
        });
        html.lit(label).lit("</a>");
    }

    fn search(&self, html: &mut Html) {
        let Some(query) = self.query else { return };
        html.lit("<form role=\"search\" method=\"get\" action=\"")
            .put(&self.settings.base);
        html.lit("/tracez\"><label class=\"unseen\" for=\"q\">Search sessions and methods</label>")
            .lit("<input type=\"search\" id=\"q\" name=\"q\" autocomplete=\"off\" spellcheck=\"false\" ")
            .lit("maxlength=\"200\" placeholder=\"Search name, peer, id…\" value=\"")
            .put(&query.search)
            .lit("\">");
        // The rest of the query goes along.
        for (name, value) in query.others() {
            html.lit("<input type=\"hidden\" name=\"").put(name);
            html.lit("\" value=\"").put(value).lit("\">");
        }
        html.lit("</form>");
    }
}

/// That some event loops have not answered.
pub(super) fn silent(html: &mut Html, boards: &[&Arc<str>]) {
    if boards.is_empty() {
        return;
    }
    html.lit("<p class=\"warning\" id=\"silent\"><strong>Not answering:</strong> ");
    for (place, board) in boards.iter().enumerate() {
        html.lit(if place > 0 { ", " } else { "" });
        html.lit("<bdi>").put(board).lit("</bdi>");
    }
    html.lit(". An event loop that does not answer in time is busy, or stands still. ")
        .lit("What happens there is not shown.</p>");
}

/// There is no such page.
pub(in crate::page) fn nothing(settings: &Settings) -> String {
    let mut html = Html::default();
    html.lit("<h1>There is no such page</h1><p><a href=\"")
        .put(&settings.base);
    html.lit("/tracez\">All sessions</a></p>");
    let layout = Layout {
        settings,
        place: Place::Elsewhere,
        title: "Not found",
        query: None,
        refresh: None,
    };
    layout.page(html)
}

/// What is shown to who does not know the token.
pub(in crate::page) fn token(settings: &Settings) -> String {
    let mut html = Html::default();
    html.lit("<h1>A token is needed</h1><form class=\"token\" method=\"get\" action=\"")
        .put(&settings.base)
        .lit("/tracez\"><label for=\"token\">Token</label>")
        .lit("<input type=\"password\" id=\"token\" name=\"token\" autocomplete=\"off\" required>")
        .lit("<button type=\"submit\">Open</button></form>");
    let layout = Layout {
        settings,
        place: Place::Elsewhere,
        title: "Token",
        query: None,
        refresh: None,
    };
    layout.page(html)
}
