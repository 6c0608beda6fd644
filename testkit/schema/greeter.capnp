@0x923220e71dcbbc2f;
# The service of the README's example.

interface Greeter {
  greet @0 (name :Text) -> (text :Text);

  another @1 () -> (greeter :Greeter);
  # One more, of the same session.
}
