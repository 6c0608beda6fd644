@0xb665280aaff2e632;
# HTTP as Cap'n Proto's own libraries have it: the same file id, names and ordinals as in their
# `capnp/compat/http-over-capnp.capnp`, so that peers which have that one understand this one. It is
# here for those who have not. Compile one of the two, not both.

using ByteStream = import "/capnp/compat/byte-stream.capnp".ByteStream;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("capnp");

interface HttpService {
  # Answers HTTP requests.

  startRequest @0 (request :HttpRequest, context :ClientRequestContext)
               -> (requestBody :ByteStream, context :ServerRequestContext);
  # What older peers call in place of `request`. It returns at once; the context that it gives is a
  # promise, which resolves when the request has been dealt with, and fails where `request` would.
  # Dropping that context cancels.

  request @1 (request :HttpRequest, context :ClientRequestContext) -> (requestBody :ByteStream);
  # Makes a request. Its body is written to `requestBody`, by pipelining: this call returns when all
  # is done, the body of the response included. `requestBody` is null where `request.bodySize` is
  # fixed and zero. The response comes through `context`. Giving up the call cancels.

  connect @2 (host :Text, headers :List(HttpHeader), down :ByteStream,
              context :ConnectClientRequestContext, settings :ConnectSettings)
          -> (up :ByteStream);
  # Opens a tunnel to `host`.

  interface ClientRequestContext {
    # Takes the response to one request.

    startResponse @0 (response :HttpResponse) -> (body :ByteStream);
    # The response begins; its body is written to `body`, which is null where `response.bodySize` is
    # fixed and zero.

    startWebSocket @1 (headers :List(HttpHeader), upSocket :WebSocket)
                   -> (downSocket :WebSocket);
    # The request becomes a WebSocket. `upSocket` takes what the client sends, `downSocket` what the
    # server sends.
  }

  interface ConnectClientRequestContext {
    # Is told what became of a tunnel.

    startConnect @0 (response :HttpResponse);
    # It is open.

    startError @1 (response :HttpResponse) -> (body :ByteStream);
    # It was refused.
  }

  interface ServerRequestContext {
    # A request that is under way, as `startRequest` gives it.
  }
}

struct ConnectSettings {
  # How a tunnel is to be opened.

  useTls @0 :Bool;
  # Whether what goes through is encrypted at its far end.
}

interface WebSocket {
  # Takes the frames of one direction.

  sendText @0 (text :Text) -> stream;
  # A text frame.

  sendData @1 (data :Data) -> stream;
  # A binary frame.

  close @2 (code :UInt16, reason :Text);
  # The closing frame.
}

struct HttpRequest {
  # A request without its body.

  method @0 :HttpMethod;
  # What is to be done.

  url @1 :Text;
  # To what. Absolute where it goes through a proxy, as in HTTP/1.1.

  headers @2 :List(HttpHeader);
  # In order; a name may come more than once.

  bodySize :union {
    # The length of the body, in bytes.

    unknown @3 :Void;
    # It is seen when the body ends.

    fixed @4 :UInt64;
    # As long as this.
  }
}

struct HttpResponse {
  # A response without its body.

  statusCode @0 :UInt16;
  # Three digits.

  statusText @1 :Text;
  # Null: the usual text for the code.

  headers @2 :List(HttpHeader);
  # In order; a name may come more than once.

  bodySize :union {
    # The length of the body, in bytes.

    unknown @3 :Void;
    # It is seen when the body ends.

    fixed @4 :UInt64;
    # As long as this.
  }
}

enum HttpMethod {
  # The methods that can be said, in capitals on other wires.

  get @0;
  head @1;
  post @2;
  put @3;
  delete @4;
  patch @5;
  purge @6;
  options @7;
  trace @8;
  copy @9;
  lock @10;
  mkcol @11;
  move @12;
  propfind @13;
  proppatch @14;
  search @15;
  unlock @16;
  acl @17;
  report @18;
  mkactivity @19;
  checkout @20;
  merge @21;
  msearch @22;
  notify @23;
  subscribe @24;
  unsubscribe @25;
  query @26;
  ban @27;
}

annotation commonText @0x857745131db6fc83 (enumerant) :Text;
# What an enumerant stands for, as it is written in HTTP.

enum CommonHeaderName {
  # Names of headers for which there is a number, so that they need not be sent as text.

  invalid @0;
  # Never sent.

  acceptCharset @1 $commonText("Accept-Charset");
  acceptEncoding @2 $commonText("Accept-Encoding");
  acceptLanguage @3 $commonText("Accept-Language");
  acceptRanges @4 $commonText("Accept-Ranges");
  accept @5 $commonText("Accept");
  accessControlAllowOrigin @6 $commonText("Access-Control-Allow-Origin");
  age @7 $commonText("Age");
  allow @8 $commonText("Allow");
  authorization @9 $commonText("Authorization");
  cacheControl @10 $commonText("Cache-Control");
  contentDisposition @11 $commonText("Content-Disposition");
  contentEncoding @12 $commonText("Content-Encoding");
  contentLanguage @13 $commonText("Content-Language");
  contentLength @14 $commonText("Content-Length");
  contentLocation @15 $commonText("Content-Location");
  contentRange @16 $commonText("Content-Range");
  contentType @17 $commonText("Content-Type");
  cookie @18 $commonText("Cookie");
  date @19 $commonText("Date");
  etag @20 $commonText("ETag");
  expect @21 $commonText("Expect");
  expires @22 $commonText("Expires");
  from @23 $commonText("From");
  host @24 $commonText("Host");
  ifMatch @25 $commonText("If-Match");
  ifModifiedSince @26 $commonText("If-Modified-Since");
  ifNoneMatch @27 $commonText("If-None-Match");
  ifRange @28 $commonText("If-Range");
  ifUnmodifiedSince @29 $commonText("If-Unmodified-Since");
  lastModified @30 $commonText("Last-Modified");
  link @31 $commonText("Link");
  location @32 $commonText("Location");
  maxForwards @33 $commonText("Max-Forwards");
  proxyAuthenticate @34 $commonText("Proxy-Authenticate");
  proxyAuthorization @35 $commonText("Proxy-Authorization");
  range @36 $commonText("Range");
  referer @37 $commonText("Referer");
  refresh @38 $commonText("Refresh");
  retryAfter @39 $commonText("Retry-After");
  server @40 $commonText("Server");
  setCookie @41 $commonText("Set-Cookie");
  strictTransportSecurity @42 $commonText("Strict-Transport-Security");
  transferEncoding @43 $commonText("Transfer-Encoding");
  userAgent @44 $commonText("User-Agent");
  vary @45 $commonText("Vary");
  via @46 $commonText("Via");
  wwwAuthenticate @47 $commonText("WWW-Authenticate");
}

enum CommonHeaderValue {
  # Values of headers for which there is a number.

  invalid @0;
  # Never sent.

  gzipDeflate @1 $commonText("gzip, deflate");
}

struct HttpHeader {
  # One header.

  union {
    common :group {
      # One whose name has a number.

      name @0 :CommonHeaderName;

      union {
        commonValue @1 :CommonHeaderValue;
        value @2 :Text;
      }
    }

    uncommon @3 :NameValue;
    # Any.
  }

  struct NameValue {
    # A header as text.

    name @0 :Text;
    value @1 :Text;
  }
}
