"""The methods of Helix by name: what `chat.twitch.<name>(...)` calls.

One a line: name, HTTP method, path and, of its parameters, those that are filled in unless given: "#"
with the channel's id, "@" with the bot's. Where there is a "|" the request has a body: those before
it stand in the query, all others in the body. Without one, all stand in the query.
From https://dev.twitch.tv/docs/api/reference (read 2026-11-28).
"""

from __future__ import annotations

from msgspec import Struct

METHODS = """\
add_blocked_term POST /moderation/blocked_terms #broadcaster_id @moderator_id |
add_channel_moderator POST /moderation/moderators #broadcaster_id
add_channel_vip POST /channels/vips #broadcaster_id
add_suspicious_status_to_chat_user POST /moderation/suspicious_users #broadcaster_id @moderator_id |
assign_guest_star_slot POST /guest_star/slot #broadcaster_id @moderator_id
ban_user POST /moderation/bans #broadcaster_id @moderator_id |
block_user PUT /users/blocks
cancel_a_raid DELETE /raids #broadcaster_id
check_automod_status POST /moderation/enforcements/status #broadcaster_id |
check_user_subscription GET /subscriptions/user #broadcaster_id
create_channel_stream_schedule_segment POST /schedule/segment #broadcaster_id |
create_clip POST /clips #broadcaster_id
create_clip_from_vod POST /videos/clips @editor_id #broadcaster_id
create_conduits POST /eventsub/conduits |
create_custom_rewards POST /channel_points/custom_rewards #broadcaster_id |
create_eventsub_subscription POST /eventsub/subscriptions |
create_extension_secret POST /extensions/jwt/secrets
create_guest_star_session POST /guest_star/session #broadcaster_id
create_poll POST /polls | #broadcaster_id
create_prediction POST /predictions | #broadcaster_id
create_stream_marker POST /streams/markers |
delete_channel_stream_schedule_segment DELETE /schedule/segment #broadcaster_id
delete_chat_messages DELETE /moderation/chat #broadcaster_id @moderator_id
delete_conduit DELETE /eventsub/conduits
delete_custom_reward DELETE /channel_points/custom_rewards #broadcaster_id
delete_eventsub_subscription DELETE /eventsub/subscriptions
delete_guest_star_invite DELETE /guest_star/invites #broadcaster_id @moderator_id
delete_guest_star_slot DELETE /guest_star/slot #broadcaster_id @moderator_id
delete_videos DELETE /videos
end_guest_star_session DELETE /guest_star/session #broadcaster_id
end_poll PATCH /polls | #broadcaster_id
end_prediction PATCH /predictions | #broadcaster_id
get_ad_schedule GET /channels/ads #broadcaster_id
get_authorization_by_user GET /authorization/users
get_automod_settings GET /moderation/automod/settings #broadcaster_id @moderator_id
get_banned_users GET /moderation/banned #broadcaster_id
get_bits_leaderboard GET /bits/leaderboard
get_blocked_terms GET /moderation/blocked_terms #broadcaster_id @moderator_id
get_broadcaster_subscriptions GET /subscriptions #broadcaster_id
get_channel_chat_badges GET /chat/badges #broadcaster_id
get_channel_editors GET /channels/editors #broadcaster_id
get_channel_emotes GET /chat/emotes #broadcaster_id
get_channel_followers GET /channels/followers #broadcaster_id
get_channel_guest_star_settings GET /guest_star/channel_settings #broadcaster_id @moderator_id
get_channel_icalendar GET /schedule/icalendar #broadcaster_id
get_channel_information GET /channels #broadcaster_id
get_channel_stream_schedule GET /schedule #broadcaster_id
get_channel_teams GET /teams/channel #broadcaster_id
get_charity_campaign GET /charity/campaigns #broadcaster_id
get_charity_campaign_donations GET /charity/donations #broadcaster_id
get_chat_settings GET /chat/settings #broadcaster_id @moderator_id
get_chatters GET /chat/chatters #broadcaster_id @moderator_id
get_cheermotes GET /bits/cheermotes
get_clips GET /clips
get_clips_download GET /clips/downloads @editor_id #broadcaster_id
get_conduit_shards GET /eventsub/conduits/shards
get_conduits GET /eventsub/conduits
get_content_classification_labels GET /content_classification_labels
get_creator_goals GET /goals #broadcaster_id
get_custom_reward GET /channel_points/custom_rewards #broadcaster_id
get_custom_reward_redemption GET /channel_points/custom_rewards/redemptions #broadcaster_id
get_drops_entitlements GET /entitlements/drops
get_emote_sets GET /chat/emotes/set
get_eventsub_subscriptions GET /eventsub/subscriptions
get_extension_analytics GET /analytics/extensions
get_extension_bits_products GET /bits/extensions
get_extension_configuration_segment GET /extensions/configurations
get_extension_live_channels GET /extensions/live
get_extension_secrets GET /extensions/jwt/secrets
get_extension_transactions GET /extensions/transactions
get_extensions GET /extensions
get_followed_channels GET /channels/followed @user_id
get_followed_streams GET /streams/followed @user_id
get_game_analytics GET /analytics/games
get_games GET /games
get_global_chat_badges GET /chat/badges/global
get_global_emotes GET /chat/emotes/global
get_guest_star_invites GET /guest_star/invites #broadcaster_id @moderator_id
get_guest_star_session GET /guest_star/session #broadcaster_id @moderator_id
get_hype_train_status GET /hypetrain/status #broadcaster_id
get_moderated_channels GET /moderation/channels @user_id
get_moderators GET /moderation/moderators #broadcaster_id
get_polls GET /polls #broadcaster_id
get_predictions GET /predictions #broadcaster_id
get_released_extensions GET /extensions/released
get_shared_chat_session GET /shared_chat/session #broadcaster_id
get_shield_mode_status GET /moderation/shield_mode #broadcaster_id @moderator_id
get_stream_key GET /streams/key #broadcaster_id
get_stream_markers GET /streams/markers
get_streams GET /streams
get_teams GET /teams
get_top_games GET /games/top
get_unban_requests GET /moderation/unban_requests #broadcaster_id @moderator_id
get_user_active_extensions GET /users/extensions
get_user_block_list GET /users/blocks #broadcaster_id
get_user_chat_color GET /chat/color
get_user_emotes GET /chat/emotes/user @user_id
get_user_extensions GET /users/extensions/list
get_users GET /users
get_videos GET /videos
get_vips GET /channels/vips #broadcaster_id
manage_held_automod_messages POST /moderation/automod/message |
modify_channel_information PATCH /channels #broadcaster_id |
remove_blocked_term DELETE /moderation/blocked_terms #broadcaster_id @moderator_id
remove_channel_moderator DELETE /moderation/moderators #broadcaster_id
remove_channel_vip DELETE /channels/vips #broadcaster_id
remove_suspicious_status_from_chat_user DELETE /moderation/suspicious_users #broadcaster_id @moderator_id
resolve_unban_requests PATCH /moderation/unban_requests #broadcaster_id @moderator_id
search_categories GET /search/categories
search_channels GET /search/channels
send_a_shoutout POST /chat/shoutouts #from_broadcaster_id @moderator_id
send_chat_announcement POST /chat/announcements #broadcaster_id @moderator_id |
send_chat_message POST /chat/messages | #broadcaster_id @sender_id
send_extension_chat_message POST /extensions/chat #broadcaster_id |
send_extension_pubsub_message POST /extensions/pubsub | #broadcaster_id
send_guest_star_invite POST /guest_star/invites #broadcaster_id @moderator_id
send_whisper POST /whispers @from_user_id to_user_id |
set_extension_configuration_segment PUT /extensions/configurations |
set_extension_required_configuration PUT /extensions/required_configuration #broadcaster_id |
snooze_next_ad POST /channels/ads/schedule/snooze #broadcaster_id
start_a_raid POST /raids #from_broadcaster_id
start_commercial POST /channels/commercial | #broadcaster_id
unban_user DELETE /moderation/bans #broadcaster_id @moderator_id
unblock_user DELETE /users/blocks
update_automod_settings PUT /moderation/automod/settings #broadcaster_id @moderator_id |
update_channel_guest_star_settings PUT /guest_star/channel_settings #broadcaster_id |
update_channel_stream_schedule PATCH /schedule/settings #broadcaster_id
update_channel_stream_schedule_segment PATCH /schedule/segment #broadcaster_id id |
update_chat_settings PATCH /chat/settings #broadcaster_id @moderator_id |
update_conduit_shards PATCH /eventsub/conduits/shards |
update_conduits PATCH /eventsub/conduits |
update_custom_reward PATCH /channel_points/custom_rewards #broadcaster_id id |
update_drops_entitlements PATCH /entitlements/drops |
update_extension_bits_product PUT /bits/extensions |
update_guest_star_slot PATCH /guest_star/slot #broadcaster_id @moderator_id
update_guest_star_slot_settings PATCH /guest_star/slot_settings #broadcaster_id @moderator_id
update_redemption_status PATCH /channel_points/custom_rewards/redemptions id #broadcaster_id reward_id |
update_shield_mode_status PUT /moderation/shield_mode #broadcaster_id @moderator_id |
update_user PUT /users
update_user_chat_color PUT /chat/color @user_id
update_user_extensions PUT /users/extensions |
warn_chat_user POST /moderation/warnings #broadcaster_id @moderator_id |
"""


class Method(Struct, frozen=True):
    """One method.

    Attributes:
        verb: "GET", "POST" ...
        path: Below the base address.
        query: Parameters that stand in the query; None: all do.
        channel, bot: Parameters that are filled with the id of the channel and of the bot.
    """

    verb: str
    path: str
    query: frozenset[str] | None
    channel: tuple[str, ...]
    bot: tuple[str, ...]


def method_of(name: str) -> Method | None:
    """The method of that name, None if there is none."""
    start = f"\n{METHODS}".find(f"\n{name} ") if name.isidentifier() else -1
    if start < 0:
        return None
    verb, path, *words = METHODS[start:].partition("\n")[0].split(" ")[1:]
    query = words[: words.index("|")] if "|" in words else None
    return Method(
        verb,
        path,
        None if query is None else frozenset(word.lstrip("#@") for word in query),
        tuple(word[1:] for word in words if word[0] == "#"),
        tuple(word[1:] for word in words if word[0] == "@"),
    )


def similar(name: str) -> str:
    """A name that was perhaps meant, "" if none."""
    from difflib import get_close_matches

    names = [line.partition(" ")[0] for line in METHODS.splitlines()]
    return next(iter(get_close_matches(name, names, 1)), "")
