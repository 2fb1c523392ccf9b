from tests.hostile import campaign


def test_sixty_hostile_inputs_end_right_or_in_one_line(monkeypatch):
    monkeypatch.setattr(campaign, "SECONDS", 10.0)  # on a busy machine
    outcomes = list(campaign.run(60))
    wrong = [outcome for outcome in outcomes if outcome.kind == campaign.WRONG]
    assert not wrong, "\n".join(outcome.message for outcome in wrong)
    assert {outcome.name for outcome in outcomes} == set(campaign.WEIGHTS)
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count(campaign.RIGHT) > 10
    assert kinds.count(campaign.REFUSED) > 10
