"""A .yaml file of the original's kind, at the width of the tiny tokenizer."""

PARAMS = """\
        double_z: {double_z}
        z_channels: 2
        in_channels: 3
        out_ch: 3
        ch: 4
        ch_mult: [1, 1]
        time_downsample_factor: 2
        num_res_blocks: 1
        dropout: 0.0
        use_checkpoint: false
        norm_type: layernorm  # layernorm, groupnorm
        fix_encoder: false
{more}"""
TEMPLATE = """\
model:
  base_learning_rate: 1e-5
  target: vidtok.models.{engine}.AutoencodingEngine
  params:
    monitor: val/rec_loss
    ignore_keys: []
    encoder_config:
      target: vidtok.modules.{encoder}
      params:
{params}
    decoder_config:
      target: vidtok.modules.{decoder}
      params: ${{model.params.encoder_config.params}}

    regularizer_config:
      target: vidtok.modules.regularizers.{regularizer}
    loss_config:
      target: vidtok.modules.losses.GeneralLPIPSWithDiscriminator

data:
  params:
    train:
      params:
        data_dir: ${{oc.env:HOME}}
"""
FSQ = """FSQRegularizer
      params:
        levels: [5, 4]
        entropy_loss_weight: 0.1
        entropy_loss_annealing_steps: 2000
        entropy_loss_annealing_factor: 3
        commitment_loss_weight: 0.25"""
_CAUSAL = "        init_pad_mode: replicate\n"
FAMILIES = {
    "causal": ("autoencoder", "model_3dcausal.EncoderCausal3DPadding", "model_3dcausal.DecoderCausal3DPadding", _CAUSAL),
    "causal_v1_1": (
        *("autoencoder_v1_1", "model_3dcausal_v1_1.EncoderCausal3DPadding", "model_3dcausal_v1_1.DecoderCausal3DPadding"),
        _CAUSAL + "        interpolation_mode: trilinear  # nearest, trilinear\n",
    ),
    "noncausal": ("autoencoder", "model_3dnoncausal.Encoder3D", "model_3dnoncausal.Decoder3D", ""),
}


def published_yaml(causality="causal", quantizer="kl", more=""):
    engine, encoder, decoder, own = FAMILIES[causality]
    params = PARAMS.format(double_z=str(quantizer == "kl").lower(), more=own + more)
    regularizer = "DiagonalGaussianRegularizer" if quantizer == "kl" else FSQ
    return TEMPLATE.format(engine=engine, encoder=encoder, decoder=decoder, params=params, regularizer=regularizer)
