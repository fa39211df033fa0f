"""What third parties implement: Store, Platform, and the small services they are given."""

from legato.abc.clock import Clock as Clock
from legato.abc.http import HttpClient as HttpClient
from legato.abc.http import HttpRequest as HttpRequest
from legato.abc.http import HttpResponse as HttpResponse
from legato.abc.http import MaybeSent as MaybeSent
from legato.abc.http import NotSent as NotSent
from legato.abc.platform import Capabilities as Capabilities
from legato.abc.platform import Limits as Limits
from legato.abc.platform import Parsed as Parsed
from legato.abc.platform import Platform as Platform
from legato.abc.platform import Sink as Sink
from legato.abc.platform import Verdict as Verdict
from legato.abc.store import Store as Store
