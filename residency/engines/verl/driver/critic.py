"""A critic without flash attention on a GPU: an external module of verl's."""

from __future__ import annotations

from residency.engines.verl.driver import patches, require_supported_verl
from residency.engines.verl.driver.hooks import when_imported

require_supported_verl()
when_imported("verl.utils.model", patches.critic_without_flash_attention)
