"""Pronunciations of English words that a dictionary does not have, by the rules of espeak-ng.

Its phonemes (IPA) become those of the CMU dictionary, which the models of CMU Sphinx know. Also numbers have
one: 20 is T W EH N T IY.
"""

from v2a.synthetic import speech

_WORDS_PER_MINUTE = 140
# IPA without stress -> phones; the longest match is taken first.
_PHONES: dict[str, str] = {
  pair.partition('=')[0]: pair.partition('=')[2]
  for pair in """
    aɪɚ=AY+ER ɑːɹ=AA+R ɔːɹ=AO+R oːɹ=AO+R ɛɹ=EH+R ɪɹ=IH+R ʊɹ=UH+R ɑː=AA ɔː=AO oː=AO ɜː=ER iː=IY uː=UW
    aɪ=AY aʊ=AW eɪ=EY oʊ=OW ɔɪ=OY iə=IY+AH əl=AH+L n̩=AH+N tʃ=CH dʒ=JH æ=AE ʌ=AH ə=AH ɐ=AH ɔ=AO ɑ=AA
    ɛ=EH ɚ=ER ɪ=IH ᵻ=IH i=IY ʊ=UH u=UW b=B d=D ð=DH f=F ɡ=G h=HH k=K l=L m=M n=N ŋ=NG p=P ɹ=R ɾ=D s=S
    ʃ=SH t=T ʔ=T θ=TH v=V w=W j=Y x=K z=Z ʒ=ZH
  """.split()
}
_UNSPOKEN = str.maketrans('', '', 'ˈˌ ')
_LONGEST = max(map(len, _PHONES))


def pronounce(word: str) -> str | None:
  """Returns the phones of a word, separated by blanks; None where it has no pronunciation in English."""
  _, _, phonemes = speech.synthesize(word, _WORDS_PER_MINUTE, speech.NATIVE_HZ)
  ipa = ''.join(name for name, _, _ in phonemes).translate(_UNSPOKEN)
  phones: list[str] = []
  while ipa:
    size = next((size for size in range(_LONGEST, 0, -1) if ipa[:size] in _PHONES), None)
    if size is None:
      return None
    phones += _PHONES[ipa[:size]].split('+')
    ipa = ipa[size:]
  return ' '.join(phones) or None
