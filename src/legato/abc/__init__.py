"""What third parties implement: Store, Platform, and the small services they are given."""

from legato.abc.clock import Clock as Clock
from legato.abc.http import HttpClient as HttpClient
from legato.abc.http import HttpRequest as HttpRequest
from legato.abc.http import HttpResponse as HttpResponse
from legato.abc.http import MaybeSent as MaybeSent
from legato.abc.http import NotSent as NotSent
from legato.abc.leases import Leases as Leases
from legato.abc.platform import Capabilities as Capabilities
from legato.abc.platform import Limits as Limits
from legato.abc.platform import Offered as Offered
from legato.abc.platform import Parsed as Parsed
from legato.abc.platform import Platform as Platform
from legato.abc.platform import Sink as Sink
from legato.abc.platform import Verdict as Verdict
from legato.abc.queue import Consumer as Consumer
from legato.abc.queue import Delivery as Delivery
from legato.abc.queue import Depth as Depth
from legato.abc.queue import Letter as Letter
from legato.abc.queue import Queue as Queue
from legato.abc.queue import Take as Take
from legato.abc.store import Store as Store
